//! What would change if semper took nginx's place here? `semper migrate -c FILE`: reads, changes nothing, and reports.

pub mod names;
pub mod report;

use crate::plan::Plan;
use crate::watch::renewers::Renewers;
use report::Report;
use std::path::Path;

/// Puts the report together from what was read: the configuration's verdict, its plan if there is one, and the machine
/// below `root`.
pub fn survey(conf: &str, refused: Vec<String>, noted: Vec<String>, plan: Option<&Plan>, root: &Path) -> Report {
    let servers = plan.and_then(|p| p.http.as_ref()).map(|http| &*http.servers).unwrap_or_default();
    let mut semper_conf = Vec::new();
    for server in servers {
        let with_files = server.tls.as_ref().is_some_and(|tls| {
            tls.certificates.iter().any(|c| matches!(c, crate::plan::tls::CertificateSource::File(_)))
        });
        if with_files && let Some(line) = names::hand_over(server) {
            semper_conf.push(line);
        }
    }
    if !semper_conf.is_empty() {
        let issuer = "acme_issuer letsencrypt { uri https://acme-v02.api.letsencrypt.org/directory; contact YOU@YOUR.DOMAIN; \
                      accept_terms_of_service; }";
        semper_conf.insert(0, issuer.to_owned());
    }
    let report = Report {
        conf: conf.to_owned(),
        refused,
        noted,
        names: plan.map(names::served).unwrap_or_default(),
        renewers: Renewers::below(root),
        semper_conf,
        switch: Vec::new(),
        switch_back: Vec::new(),
    };
    report.with_commands(conf)
}
