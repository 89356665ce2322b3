//! Why did etcd not do it? Whose fault it is, and what the caller may do next, are methods, not guesses of the caller.

/// What stands between us and etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// No endpoint was reached. Nothing was changed by the last attempt, but one before it may have been.
    #[error("{endpoint}: {detail}")]
    Unreached {
        /// The last one that was tried.
        endpoint: String,
        /// What happened.
        detail: String,
    },
    /// It was reached and did not answer to the end. It may have acted.
    #[error("{endpoint}: {detail}")]
    Broken {
        /// Who.
        endpoint: String,
        /// What happened.
        detail: String,
    },
    /// This member knows no leader, or cannot ask a majority. Another one perhaps can.
    #[error("{endpoint} cannot serve at present: {detail}")]
    Unavailable {
        /// Who.
        endpoint: String,
        /// etcd's words.
        detail: String,
    },
    /// Its certificate or ours is not accepted, or a file for TLS cannot be read. The operator's to mend.
    #[error("{endpoint}: TLS: {detail}")]
    Trust {
        /// Who.
        endpoint: String,
        /// What is wrong.
        detail: String,
    },
    /// User or password are wrong or missing. The operator's to mend.
    #[error("etcd refuses the user: {detail}")]
    Credentials {
        /// etcd's words.
        detail: String,
    },
    /// The token of a user is out of date. Log in again, then once more.
    #[error("etcd asks for a new login")]
    TokenOutdated,
    /// The user may not do this under this prefix. The operator's to mend.
    #[error("etcd: permission denied under {prefix}")]
    Permission {
        /// The prefix of the configuration.
        prefix: String,
    },
    /// etcd's quota is used up (`NOSPACE`): it goes on answering, and takes nothing. The operator's to mend.
    #[error("etcd is full: {detail}")]
    Full {
        /// etcd's words.
        detail: String,
    },
    /// Too much at once. Later, again.
    #[error("etcd is busy: {detail}")]
    Busy {
        /// etcd's words.
        detail: String,
    },
    /// The revision that was asked for is compacted away. List everything anew.
    #[error("etcd has compacted up to revision {revision}")]
    Compacted {
        /// What is left begins here; 0 if etcd did not say.
        revision: i64,
    },
    /// The lease has run out or was given back. Everything held under it is lost.
    #[error("the lease is gone")]
    LeaseGone,
    /// What the writer had read is not what stands there now. Read again, and decide again.
    #[error("{key} was written by another node meanwhile")]
    Conflict {
        /// The key.
        key: String,
    },
    /// The writer no longer holds the duty under whose protection it writes. Stop.
    #[error("the duty for {key} is no longer ours")]
    DutyLost {
        /// The key of the duty.
        key: String,
    },
    /// A value of ours would be larger than etcd takes.
    #[error("{key}: {size} bytes are more than is kept in etcd")]
    TooLarge {
        /// The key.
        key: String,
        /// How large.
        size: usize,
    },
    /// An answer that makes no sense, or a refusal that is not known. Perhaps no etcd.
    #[error("{endpoint}: {detail}")]
    Strange {
        /// Who.
        endpoint: String,
        /// What it said.
        detail: String,
    },
}

impl EtcdError {
    /// May another endpoint do better?
    pub fn elsewhere(&self) -> bool {
        use EtcdError::*;
        match self {
            Unreached { .. } | Broken { .. } | Unavailable { .. } | Trust { .. } | Busy { .. } | Strange { .. } => true,
            Credentials { .. } | TokenOutdated | Permission { .. } | Full { .. } | Compacted { .. } => false,
            LeaseGone | Conflict { .. } | DutyLost { .. } | TooLarge { .. } => false,
        }
    }

    /// Does it last until somebody mends it?
    pub fn needs_the_operator(&self) -> bool {
        use EtcdError::*;
        match self {
            Trust { .. } | Credentials { .. } | Permission { .. } | Full { .. } | TooLarge { .. } => true,
            Unreached { .. } | Broken { .. } | Unavailable { .. } | TokenOutdated | Busy { .. } => false,
            Compacted { .. } | LeaseGone | Conflict { .. } | DutyLost { .. } | Strange { .. } => false,
        }
    }

    /// What a gRPC status of etcd means (google.rpc.Code, and etcd's `rpctypes`).
    pub(super) fn of_status(endpoint: &str, prefix: &str, code: u32, message: &str) -> EtcdError {
        let (endpoint, detail) = (endpoint.to_owned(), message.to_owned());
        let says = |words: &str| message.contains(words);
        match code {
            _ if says("database space exceeded") => EtcdError::Full { detail },
            _ if says("invalid auth token") || says("revision of auth store is old") => EtcdError::TokenOutdated,
            _ if says("lease not found") => EtcdError::LeaseGone,
            _ if says("has been compacted") => EtcdError::Compacted { revision: 0 },
            _ if says("user name is empty") || says("user name not found") || says("authentication failed") => {
                EtcdError::Credentials { detail }
            }
            1 | 4 | 14 => EtcdError::Unavailable { endpoint, detail },
            7 => EtcdError::Permission { prefix: prefix.to_owned() },
            8 => EtcdError::Busy { detail },
            16 => EtcdError::Credentials { detail },
            _ => EtcdError::Strange { endpoint, detail: format!("status {code}: {detail}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says_is_understood_as_somebodys_fault() {
        let of = |code, message| EtcdError::of_status("h:1", "/semper/", code, message);
        assert!(matches!(of(8, "etcdserver: mvcc: database space exceeded"), EtcdError::Full { .. }));
        assert!(matches!(of(8, "etcdserver: too many requests"), EtcdError::Busy { .. }));
        assert_eq!(of(16, "etcdserver: invalid auth token"), EtcdError::TokenOutdated);
        assert_eq!(of(3, "etcdserver: revision of auth store is old"), EtcdError::TokenOutdated);
        assert_eq!(of(5, "etcdserver: requested lease not found"), EtcdError::LeaseGone);
        assert!(matches!(of(3, "etcdserver: user name is empty"), EtcdError::Credentials { .. }));
        assert!(matches!(of(7, "etcdserver: permission denied"), EtcdError::Permission { .. }));
        assert!(of(14, "etcdserver: no leader").elsewhere() && !of(14, "etcdserver: no leader").needs_the_operator());
        assert!(!of(3, "etcdserver: user name is empty").elsewhere());
        assert!(of(12, "unknown service").elsewhere());
    }
}
