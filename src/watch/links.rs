//! Where can something happen that changes what a path leads to? At every symlink on the way, and at the file itself: `live/NAME/fullchain.pem` of certbot, `..data` of Kubernetes. Reads links alone.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Ways that were gone already: thousands of files lie in few directories. For one look at them all, not longer.
#[derive(Debug, Default)]
pub(super) struct Ways(HashMap<PathBuf, Option<Way>>);

/// How a directory is reached: the symlinks on the way, and where it ends.
#[derive(Debug)]
struct Way {
    links: Vec<PathBuf>,
    end: PathBuf,
}

impl Ways {
    /// The places on the way to `path` that decide where it leads: every symlink, and the file itself. Their directories
    /// must be watched. What does not exist yet is watched from where the way ends.
    pub(super) fn hops(&mut self, path: &Path) -> BTreeSet<PathBuf> {
        let (Some(directory), Some(name)) = (path.parent().filter(|_| path.is_absolute()), path.file_name()) else {
            return hops(path);
        };
        if !self.0.contains_key(directory) {
            self.0.insert(directory.to_owned(), way(directory));
        }
        let Some(Some(way)) = self.0.get(directory) else { return hops(path) };
        let file = way.end.join(name);
        if std::fs::read_link(&file).is_ok() {
            return hops(path);
        }
        way.links.iter().cloned().chain([file]).collect()
    }
}

/// The way to a directory that is there.
fn way(directory: &Path) -> Option<Way> {
    let mut found = hops(directory);
    let end = directory.canonicalize().ok().filter(|end| end.is_dir())?;
    // The end of the way was not a link: it is the directory itself.
    found.remove(&end);
    Some(Way { links: found.into_iter().collect(), end })
}

fn hops(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = parts(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        if let Ok(target) = std::fs::read_link(&next) {
            found.insert(next);
            links += 1;
            if links > MOST_LINKS {
                break;
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            left.extend(parts(&target));
        } else if left.is_empty() || !next.exists() {
            found.insert(next);
            break;
        } else {
            at = next;
        }
    }
    found
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let normal = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<_> = normal.collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_hop_of_certbot_and_kubernetes_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("archive/a")).unwrap();
        std::fs::create_dir_all(root.join("live/a")).unwrap();
        std::fs::write(root.join("archive/a/cert1.pem"), "1").unwrap();
        symlink("../../archive/a/cert1.pem", root.join("live/a/cert.pem")).unwrap();
        let found = hops(&root.join("live/a/cert.pem"));
        assert_eq!(found, BTreeSet::from([root.join("live/a/cert.pem"), root.join("archive/a/cert1.pem")]));
        std::fs::create_dir_all(root.join("k8s/..2026_1")).unwrap();
        std::fs::write(root.join("k8s/..2026_1/tls.crt"), "1").unwrap();
        symlink("..2026_1", root.join("k8s/..data")).unwrap();
        symlink("..data/tls.crt", root.join("k8s/tls.crt")).unwrap();
        let found = hops(&root.join("k8s/tls.crt"));
        let all = ["k8s/tls.crt", "k8s/..data", "k8s/..2026_1/tls.crt"].map(|hop| root.join(hop));
        assert_eq!(found, BTreeSet::from(all));
    }

    #[test]
    fn a_way_that_was_gone_before_gives_the_same_hops() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real")).unwrap();
        for name in ["real/a", "real/b"] {
            std::fs::write(root.join(name), "1").unwrap();
        }
        symlink("real", root.join("link")).unwrap();
        symlink("a", root.join("real/c")).unwrap();
        let mut ways = Ways::default();
        for path in ["real/a", "real/b", "link/a", "link/b", "link/c", "link/no", "link/../real/a", "no/a", "link"] {
            assert_eq!(ways.hops(&root.join(path)), hops(&root.join(path)), "{path}");
        }
        assert_eq!(ways.hops(&root.join("link/b")), BTreeSet::from([root.join("link"), root.join("real/b")]));
    }

    #[test]
    fn missing_paths_and_loops_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(hops(&root.join("no/such/file")), BTreeSet::from([root.join("no")]));
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(hops(&root.join("a")), BTreeSet::from([root.join("a"), root.join("b")]));
    }
}
