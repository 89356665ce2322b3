//! Does a browser cope with a kept connection? What nginx's `keepalive_disable` sees in the `User-Agent`; nothing else is
//! ever decided by it.

use crate::h1::RequestHead;
use crate::plan::client::ClientLimits;
use memchr::memmem::find;

/// A browser of which nginx knows that kept connections trouble it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Browser {
    /// MSIE up to 6, with a POST.
    Msie6,
    /// Safari on macOS.
    Safari,
    /// Any other.
    Other,
}

impl Browser {
    /// The browser that sent `head`.
    pub(super) fn of(head: &RequestHead) -> Browser {
        let posts = &head.method[..] == b"POST";
        head.fields.get("user-agent").map_or(Browser::Other, |agent| Browser::named(agent, posts))
    }

    fn named(agent: &[u8], posts: bool) -> Browser {
        let msie = find(agent, b"MSIE ").filter(|at| at + 7 < agent.len());
        if find(agent, b"Opera").is_none()
            && let Some(at) = msie
        {
            let old = match &agent[at + 5..at + 7] {
                b"4." | b"5." => true,
                b"6." => find(&agent[at..], b"SV1").is_none(),
                _ => false,
            };
            return if old && posts { Browser::Msie6 } else { Browser::Other };
        }
        let has = |word: &str| find(agent, word.as_bytes()).is_some();
        let other = has("Opera") || has("Gecko/") || has("Chrome/");
        if !other && has("Safari/") && has("Mac OS X") { Browser::Safari } else { Browser::Other }
    }

    /// Whether `keepalive_disable` ends its connection after this answer.
    pub(super) fn is_disabled(self, limits: &ClientLimits) -> bool {
        match self {
            Browser::Msie6 => limits.keepalive_disable_msie6,
            Browser::Safari => limits.keepalive_disable_safari,
            Browser::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_msie_with_a_post_and_plain_safari_are_known() {
        let safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) AppleWebKit/605 (KHTML) Version/17 Safari/605";
        let chrome = "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) AppleWebKit/537 Chrome/120.0 Safari/537";
        for (agent, posts, browser) in [
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows)", true, Browser::Msie6),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows)", false, Browser::Other),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows; SV1)", true, Browser::Other),
            ("Mozilla/4.0 (compatible; MSIE 5.5; Windows) Opera 7", true, Browser::Other),
            ("MSIE 5.", true, Browser::Other),
            (safari, false, Browser::Safari),
            (chrome, false, Browser::Other),
            ("", true, Browser::Other),
        ] {
            assert_eq!(Browser::named(agent.as_bytes(), posts), browser, "{agent}");
        }
    }
}
