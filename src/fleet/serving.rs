//! Who serves what? Each node tells, bucket by bucket, which certificates its configuration has and which generation its
//! handshakes show. From all of that follow the nodes among which duty lies, and whether a renewal is done.

use std::collections::BTreeMap;

use super::wire::{BadBytes, Reader, Writer};
use super::{Body, Claim, NodeId, Subject, SubjectKey};
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;
use crate::words::Fingerprint;

/// Certificates of one bucket at most: a quarter of a million in all.
const MOST_ROWS: usize = 1024;

/// A certificate as reports name it: the start of the key of its bundle. Long enough that no two meet by chance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Short([u8; 12]);

impl Short {
    /// Of a certificate.
    pub fn of(cert: &CertId) -> Short {
        let key = Subject::Bundle(cert.clone()).key();
        Short(*key.0.first_chunk().expect("a key has 32 bytes"))
    }

    /// The bucket of the report in which it stands.
    pub fn bucket(self) -> u8 {
        SubjectKey::bucket(&{
            let mut key = SubjectKey::FIRST;
            key.0[..12].copy_from_slice(&self.0);
            key
        })
    }
}

/// What a node shows for one certificate of its configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which certificate.
    pub cert: Short,
    /// The start of the fingerprint of the leaf that it shows; zero: nothing but a placeholder.
    pub shows: [u8; 8],
    /// Until when that is valid.
    pub until: UnixTime,
}

/// The start of a fingerprint, as rows have it.
pub fn head(leaf: &Fingerprint) -> [u8; 8] {
    *leaf.0.first_chunk().expect("a fingerprint has 32 bytes")
}

/// The body of one bucket of a node's report.
pub fn to_body(rows: &[Row]) -> Body {
    let rows = &rows[..rows.len().min(MOST_ROWS)];
    let mut w = Writer::with_room(rows.len() * 28 + 8);
    w.u8(1);
    w.count(rows.len());
    for row in rows {
        w.raw(&row.cert.0);
        w.raw(&row.shows);
        w.u64(row.until.0.cast_unsigned());
    }
    Body::new(w.finish())
}

/// Reads [`to_body`].
///
/// # Errors
/// [`BadBytes`].
pub fn from_body(body: &Body) -> Result<Vec<Row>, BadBytes> {
    let mut r = Reader::new(body.as_bytes());
    if r.u8()? != 1 {
        return Err(BadBytes::Version);
    }
    r.list(MOST_ROWS, |r| {
        Ok(Row { cert: Short(r.array()?), shows: r.array()?, until: UnixTime(r.u64()?.cast_signed()) })
    })
}

/// A node that does not show the newest generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laggard {
    /// Which.
    pub node: NodeId,
    /// What it shows; `None`: nothing but a placeholder.
    pub shows: Option<[u8; 8]>,
    /// Until when that is valid.
    pub until: UnixTime,
}

/// Everything that nodes have reported, by certificate.
#[derive(Clone, Debug, Default)]
pub struct Served {
    by_node: BTreeMap<(NodeId, u8), Vec<Row>>,
    by_cert: BTreeMap<Short, BTreeMap<NodeId, Row>>,
}

impl Served {
    /// Takes in a claim of [`Subject::Serving`]; others, and those that cannot be read, are passed over.
    pub fn take(&mut self, claim: &Claim) {
        let Subject::Serving(node, bucket) = *claim.subject() else { return };
        let rows = match claim.is_tombstone() {
            true => Vec::new(),
            false => from_body(claim.body()).unwrap_or_default(),
        };
        self.replace(node, bucket, rows);
    }

    /// Puts what a node shows in place of what it showed.
    fn replace(&mut self, node: NodeId, bucket: u8, rows: Vec<Row>) {
        for old in self.by_node.remove(&(node, bucket)).unwrap_or_default() {
            if let Some(nodes) = self.by_cert.get_mut(&old.cert) {
                nodes.remove(&node);
                if nodes.is_empty() {
                    self.by_cert.remove(&old.cert);
                }
            }
        }
        for row in rows.iter().filter(|row| row.cert.bucket() == bucket) {
            self.by_cert.entry(row.cert).or_default().insert(node, *row);
        }
        self.by_node.insert((node, bucket), rows);
    }

    /// Forgets a node: it was removed.
    pub fn forget(&mut self, node: NodeId) {
        let buckets: Vec<u8> = self.by_node.keys().filter(|(who, _)| *who == node).map(|(_, bucket)| *bucket).collect();
        buckets.into_iter().for_each(|bucket| self.replace(node, bucket, Vec::new()));
    }

    /// The nodes whose configuration has a certificate, with what each shows.
    pub fn of(&self, cert: &CertId) -> impl Iterator<Item = (NodeId, Row)> {
        self.by_cert.get(&Short::of(cert)).into_iter().flatten().map(|(node, row)| (*node, *row))
    }

    /// The nodes of `live` whose configuration has a certificate and which do not show its newest leaf. None: a renewal
    /// is done.
    pub fn laggards(&self, cert: &CertId, newest: &Fingerprint, live: &[NodeId]) -> Vec<Laggard> {
        let expected = head(newest);
        let late = self.of(cert).filter(|(node, row)| row.shows != expected && live.contains(node));
        let shows = |row: Row| (row.shows != [0; 8]).then_some(row.shows);
        late.map(|(node, row)| Laggard { node, shows: shows(row), until: row.until }).collect()
    }

    /// Certificates that no node's configuration has, of those asked about.
    pub fn unused<'a>(&self, certs: impl Iterator<Item = &'a CertId>) -> Vec<CertId> {
        certs.filter(|cert| !self.by_cert.contains_key(&Short::of(cert))).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cert(name: &str) -> CertId {
        CertId::try_from(format!("{name}~0123456789abcdef")).unwrap()
    }

    fn shows(cert: &CertId, leaf: &str) -> Row {
        let until = UnixTime::from_seconds(9);
        Row { cert: Short::of(cert), shows: head(&Fingerprint::of(leaf.as_bytes())), until }
    }

    fn report(node: NodeId, cert: &CertId, rows: &[Row]) -> Claim {
        Claim::new(Subject::Serving(node, Short::of(cert).bucket()), 1, node, to_body(rows))
    }

    #[test]
    fn a_renewal_is_done_when_every_live_node_that_has_the_name_shows_it() {
        let (a, b, c, d) = (NodeId::of_key(b"a"), NodeId::of_key(b"b"), NodeId::of_key(b"c"), NodeId::of_key(b"d"));
        let (one, new) = (cert("one"), Fingerprint::of(b"new"));
        let mut served = Served::default();
        for (node, leaf) in [(a, "new"), (b, "old"), (c, "old")] {
            served.take(&report(node, &one, &[shows(&one, leaf)]));
        }
        // `d` does not have the name, `c` is dead.
        let late = served.laggards(&one, &new, &[a, b, d]);
        assert_eq!(late.iter().map(|laggard| laggard.node).collect::<Vec<_>>(), [b]);
        served.take(&report(b, &one, &[shows(&one, "new")]));
        assert_eq!(served.laggards(&one, &new, &[a, b, d]), []);
        let mut having: Vec<NodeId> = served.of(&one).map(|(node, _)| node).collect();
        served.forget(c);
        served.take(&report(b, &one, &[]));
        assert_eq!(having.len(), 3);
        having = served.of(&one).map(|(node, _)| node).collect();
        assert_eq!(having, [a]);
        assert_eq!(served.unused([one.clone(), cert("two")].iter()), [cert("two")]);
    }

    #[test]
    fn a_report_about_another_bucket_or_cut_short_is_passed_over() {
        let (a, one) = (NodeId::of_key(b"a"), cert("one"));
        let mut served = Served::default();
        let bucket = Short::of(&one).bucket();
        served.take(&Claim::new(Subject::Serving(a, bucket ^ 1), 1, a, to_body(&[shows(&one, "x")])));
        assert_eq!(served.of(&one).count(), 0);
        let body = to_body(&[shows(&one, "x")]);
        let short = Body::copy(&body.as_bytes()[..20]);
        served.take(&Claim::new(Subject::Serving(a, bucket), 1, a, short));
        assert_eq!(served.of(&one).count(), 0);
        assert_eq!(from_body(&body), Ok(vec![shows(&one, "x")]));
    }
}
