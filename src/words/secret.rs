//! Where does a secret come from? A reference is harmless to print; what it points to is read by `node` and never shown.

use std::fmt;
use std::path::PathBuf;

/// A secret as the configuration names it.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// `file:PATH`: the file's content, without one trailing newline.
    File(PathBuf),
    /// `env:NAME`: an environment variable of the master.
    Env(String),
    /// `cred:NAME`: a systemd credential, a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Written in the configuration itself. Shown as `***` everywhere.
    Literal(zeroize::Zeroizing<String>),
}

impl SecretRef {
    /// Reads `file:`, `env:` and `cred:`; anything else is a literal.
    pub fn parse(text: &str) -> SecretRef {
        if let Some(path) = text.strip_prefix("file:") {
            SecretRef::File(PathBuf::from(path))
        } else if let Some(name) = text.strip_prefix("env:") {
            SecretRef::Env(name.to_owned())
        } else if let Some(name) = text.strip_prefix("cred:") {
            SecretRef::Credential(name.to_owned())
        } else {
            SecretRef::Literal(zeroize::Zeroizing::new(text.to_owned()))
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::Credential(name) => write!(f, "cred:{name}"),
            SecretRef::Literal(_) => f.write_str("***"),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::SecretRef;

    #[test]
    fn a_literal_secret_is_never_printed() {
        let secret = SecretRef::parse("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(format!("{}", SecretRef::parse("env:KEY")), "env:KEY");
    }
}
