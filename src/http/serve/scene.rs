//! How does a rewrite script see and change a request?

use crate::http::exchange::Exchange;
use crate::plan::location::Location;
use crate::plan::log::Level;
use crate::plan::pattern::Spans;
use crate::plan::template::{Builtin, VariableSource};
use crate::route::script::{FileFacts, Scene};
use bytes::Bytes;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

impl Scene for Exchange {
    fn uri(&self) -> &Bytes {
        &self.uri
    }

    fn args(&self) -> &Bytes {
        &self.args
    }

    fn escapes(&self) -> bool {
        self.escapes
    }

    fn rewrite(&mut self, uri: Bytes, args: Bytes, stay: bool) {
        (self.uri, self.args) = (uri, args);
        self.internal = true;
        self.valid_unparsed_uri = false;
        self.uri_changed = !stay;
        if stay {
            self.valid_location = false;
        }
    }

    fn stay(&mut self) {
        if self.uri_changed {
            self.valid_location = false;
            self.uri_changed = false;
        }
    }

    fn set(&mut self, variable: usize, value: Bytes) {
        let source = self.plan().and_then(|plan| plan.http.as_ref()?.variables.get(variable)).map(|v| &v.source);
        match source {
            Some(VariableSource::Builtin(Builtin::Args)) => self.args = value,
            Some(VariableSource::Builtin(Builtin::LimitRate)) => match super::outgoing::number(&value) {
                Some(rate) => self.limit_rate = Some(rate),
                None => {
                    let value = String::from_utf8_lossy(&value);
                    self.note(Level::Error, format_args!("invalid $limit_rate \"{value}\""));
                }
            },
            _ => self.set_user_variable(variable, Some(value)),
        }
    }

    fn matched(&mut self, subject: &Bytes, spans: Spans, names: &[(usize, usize)]) {
        self.set_captures(subject, spans, names);
    }

    fn unmatched(&mut self) {
        self.clear_captures();
    }

    fn file(&self, path: &[u8]) -> Option<FileFacts> {
        let facts = std::fs::metadata(Path::new(OsStr::from_bytes(path))).ok()?;
        let executable = facts.permissions().mode() & 0o100 != 0;
        Some(FileFacts { file: facts.is_file(), directory: facts.is_dir(), executable })
    }

    fn answering(&mut self, status: u16) {
        self.shown.status.set(status);
    }

    fn enter(&mut self, location: &Arc<Location>) {
        self.stand_in(location.clone());
    }
}

impl Exchange {
    /// Moves the request to `location`, or to what its `limit_except` says for this method.
    pub(super) fn stand_in(&mut self, location: Arc<Location>) {
        if let Some(except) = &location.limit_except {
            let is = |name: &str| self.head.method == name.as_bytes();
            let stays = except.methods.iter().any(|method| is(method) || (&**method == "GET" && is("HEAD")));
            if !stays {
                let otherwise = except.otherwise.clone();
                return self.enter(otherwise);
            }
        }
        self.enter(location);
    }
}
