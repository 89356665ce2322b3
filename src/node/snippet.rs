//! Which few lines make a node that does not run semper answer the challenges of its accounts too? For nginx, HAProxy and
//! Caddy. Answers without asking anybody, by RFC 8555 8.3: `token "." thumbprint`; only tokens of the right alphabet.
//! Knows nothing of files: a person puts the lines where they belong.

/// A program that may stand where semper does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// nginx, any version with PCRE.
    Nginx,
    /// HAProxy 2.2 or later.
    Haproxy,
    /// Caddy 2.
    Caddy,
}

impl Program {
    /// The lines for the accounts behind `accounts` (issuer and thumbprint of the account key, each once).
    /// One location cannot answer for two accounts: all but the first are named in a comment.
    pub fn lines(self, accounts: &[(&str, &str)]) -> Option<String> {
        let ((_, thumbprint), others) = (accounts.first()?, &accounts[1..]);
        let mut issuers: Vec<&str> = vec![accounts[0].0];
        issuers.extend(others.iter().filter(|(_, other)| other == thumbprint).map(|(issuer, _)| *issuer));
        let mut out = match self {
            Program::Nginx => "# In the server on port 80 of every node that still runs nginx",
            Program::Haproxy => "# In the frontend on port 80 of every node that runs HAProxy, before its other rules",
            Program::Caddy => "# In the site on port 80 of every node that runs Caddy",
        }
        .to_owned();
        out.push_str(&format!(": challenges of {} are answered there too.\n", issuers.join(", ")));
        for (issuer, _) in others.iter().filter(|(_, other)| other != thumbprint) {
            out.push_str(&format!(
                "# Not for {issuer}: it has an account key of its own. Proxy this path to a node with semper.\n"
            ));
        }
        out.push_str(&match self {
            Program::Nginx => format!(
                "location ~ \"^/\\.well-known/acme-challenge/([-_A-Za-z0-9]+)$\" {{\n    \
                 default_type text/plain;\n    return 200 \"$1.{thumbprint}\";\n}}\n"
            ),
            Program::Haproxy => format!(
                "http-request return status 200 content-type text/plain lf-string \"%[path,field(4,/)].{thumbprint}\" \
                 if METH_GET {{ path_reg ^/\\.well-known/acme-challenge/[-_A-Za-z0-9]+$ }}\n"
            ),
            Program::Caddy => format!(
                "@acme path_regexp acme ^/\\.well-known/acme-challenge/([-_A-Za-z0-9]+)$\n\
                 header @acme Content-Type text/plain\nrespond @acme \"{{re.acme.1}}.{thumbprint}\" 200\n"
            ),
        });
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thumbprint_answers_for_all_its_issuers_and_another_key_is_named() {
        let accounts = [("le", "print"), ("zero", "print"), ("corp", "other")];
        for program in [Program::Nginx, Program::Haproxy, Program::Caddy] {
            let lines = program.lines(&accounts).unwrap_or_default();
            assert!(lines.contains("challenges of le, zero are") && lines.contains("Not for corp"), "{lines}");
            assert!(lines.matches("print").count() == 1 && !lines.contains("other\""), "{lines}");
            assert_eq!(program.lines(&[]), None);
        }
    }
}
