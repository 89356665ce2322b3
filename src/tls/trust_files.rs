//! What stands in the files of authorities and revocation lists? Remembers the last good content of each: a file that
//! becomes bad is named, and changes nothing until it is good again.

use super::build::Fault;
use super::trust::{read_certificates, read_revoked};
use crate::cert::gate::{FileFault, open_failed};
use crate::net::files::{ReadFile, content};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use webpki::CertRevocationList;

/// The last good content of each file.
#[derive(Debug, Default)]
pub(super) struct TrustFiles {
    certificates: Mutex<HashMap<PathBuf, Arc<[CertificateDer<'static>]>>>,
    revoked: Mutex<HashMap<PathBuf, Vec<u8>>>,
}

impl TrustFiles {
    /// The authorities of a file; of its last good content if it is bad now, or nobody.
    pub fn certificates(
        &self,
        reader: &dyn ReadFile,
        path: &Path,
        faults: &mut Vec<Fault>,
    ) -> Arc<[CertificateDer<'static>]> {
        let mut known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let found = content(reader, path).map_err(|error| open_failed("certificate", path, &error)).and_then(|text| {
            let fault = |fault| FileFault::Leaf(fault).message(path, path);
            read_certificates(&text).map_err(fault)
        });
        match found {
            Ok(found) => {
                let found: Arc<[_]> = found.into();
                known.insert(path.into(), found.clone());
                found
            }
            Err(words) => {
                faults.push(Fault(words));
                known.get(path).cloned().unwrap_or_default()
            }
        }
    }

    /// The revocation lists of a file, and its bytes. No list at all means that every certificate is refused.
    pub fn revoked(
        &self,
        reader: &dyn ReadFile,
        path: &Path,
        faults: &mut Vec<Fault>,
    ) -> (Vec<CertRevocationList<'static>>, Vec<u8>) {
        let mut known = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = path.display();
        let found = content(reader, path).map_err(|error| open_failed("CRL", path, &error)).and_then(|text| {
            let fault = |fault: crate::cert::gate::ChainFault| {
                let words = fault.to_string().replace("TRUSTED CERTIFICATE", "X509 CRL");
                format!("cannot load CRL \"{shown}\": PEM_read_bio_X509_CRL() failed ({words})")
            };
            read_revoked(&text).map_err(fault).map(|lists| (lists, text.to_vec()))
        });
        match found {
            Ok((lists, text)) => {
                known.insert(path.into(), text.clone());
                (lists, text)
            }
            Err(words) => {
                faults.push(Fault(words));
                let text = known.get(path).cloned().unwrap_or_default();
                (read_revoked(&text).unwrap_or_default(), text)
            }
        }
    }
}
