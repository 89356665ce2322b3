//! Which files does a plan name? The master opens these for the server process, and no others.

use std::path::{Path, PathBuf};

use crate::plan::Plan;
use crate::plan::acme::{AccountKey, Authority};
use crate::plan::location::{Handler, Location, LocationTree};
use crate::plan::log::LogTarget;
use crate::plan::script::Op;
use crate::plan::tls::{CertificateSource, FileCertificate};
use crate::words::SecretRef;

use super::errand::Allowed;

/// Every log and every key, certificate and password file of `plan`.
pub fn by(plan: &Plan) -> Allowed {
    let mut named =
        Allowed { owner: plan.process.user.as_ref().map(|user| (user.uid, user.gid)), ..Allowed::default() };
    named.exports.extend(plan.exports.iter().cloned());
    named.logs(plan.process.error_logs.iter().map(|log| &log.target));
    if let Some(fleet) = &plan.fleet {
        named.secret(&fleet.key);
        fleet.old_key.iter().for_each(|key| named.secret(key));
        if let Some(store) = &fleet.store {
            store.user.iter().for_each(|(_, password)| named.secret(password));
            let pair = store.certificate.iter().flat_map(|(chain, key)| [chain, key]);
            named.read.extend(pair.chain(&store.trusted));
        }
    }
    for issuer in &plan.issuers {
        if let Authority::Acme(server) = &issuer.authority {
            named.read.extend(server.trusted_certificate.as_ref());
            if let AccountKey::File(path) = &server.account_key {
                named.read.insert(path);
            }
            if let Some(account) = &server.external_account {
                named.secret(&account.key);
            }
        }
    }
    for server in plan.http.iter().flat_map(|http| http.servers.iter()) {
        if let Some(tls) = &server.tls {
            for certificate in &tls.certificates {
                if let CertificateSource::File(pair) = certificate {
                    named.pair(pair);
                }
            }
            named.read.extend(tls.ticket_keys.iter());
            let trusted = [&tls.client_certificate, &tls.trusted_certificate, &tls.crl];
            named.read.extend(trusted.into_iter().flatten());
        }
        named.location(&server.root);
        named.tree(&server.locations);
    }
    named
}

impl Allowed {
    fn logs<'a>(&mut self, targets: impl Iterator<Item = &'a LogTarget>) {
        for target in targets {
            if let LogTarget::File(path) = target {
                self.append.insert(path.clone());
            }
        }
    }

    fn pair(&mut self, pair: &FileCertificate) {
        self.read.extend([&pair.certificate, &pair.key]);
        self.read.extend(&pair.passwords);
    }

    fn secret(&mut self, secret: &SecretRef) {
        match secret {
            SecretRef::File(path) => self.read.insert(path),
            SecretRef::Credential(name) => {
                if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
                    self.read.insert(&PathBuf::from(folder).join(name));
                }
            }
            SecretRef::Env(_) | SecretRef::Literal(_) => {}
        }
    }

    fn tree(&mut self, tree: &LocationTree) {
        let all = tree.exact.iter().chain(&tree.prefixes).chain(&tree.patterns).chain(&tree.named);
        all.for_each(|location| self.location(location));
    }

    fn location(&mut self, location: &Location) {
        let settings = &location.settings;
        self.logs(settings.logs.access.iter().map(|log| &log.target));
        self.logs(settings.logs.error.iter().map(|log| &log.target));
        if let Some(basic) = &settings.access.basic
            && let Some(path) = basic.user_file.as_literal()
        {
            self.read.insert(Path::new(&*String::from_utf8_lossy(path)));
        }
        if let Handler::Proxy(proxy) = &location.handler
            && let Some(tls) = &proxy.tls
        {
            self.read.extend([&tls.trusted_certificate, &tls.crl].into_iter().flatten());
            tls.certificate.iter().for_each(|pair| self.pair(pair));
        }
        self.script(&location.script);
        if let Some(limited) = &location.limit_except {
            self.location(&limited.otherwise);
        }
        self.tree(&location.nested);
    }

    fn script(&mut self, script: &[Op]) {
        for op in script {
            if let Op::If { script, becomes, .. } = op {
                self.script(script);
                becomes.iter().for_each(|location| self.location(location));
            }
        }
    }
}
