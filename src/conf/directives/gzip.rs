//! gzip and its kin.

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::conf::variables;
use crate::plan::gzip::{Gzip, GzipProxied};
use crate::plan::pattern::Pattern;

use super::Chain;

/// What one level has said about compression, beside plain values.
#[derive(Debug, Default)]
pub struct Said {
    types: Vec<Box<str>>,
    disable: Vec<Pattern>,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        self.types.is_empty() && self.disable.is_empty()
    }
}

/// User agents that `gzip_disable msie6` means.
const MSIE6: &str = r"MSIE [4-6]\.(?!.*SV1)";

/// Takes `gzip_types` or `gzip_disable`.
///
/// # Errors
/// nginx's words.
pub fn take(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if &*directive.name == "gzip_types" {
        return media_types(&mut said.gzip.types, reader, directive);
    }
    for text in &directive.args {
        let (text, caseless) = if &**text == "msie6" { (MSIE6, false) } else { (&**text, true) };
        said.gzip.disable.push(variables::pattern(text, caseless, &directive.place)?);
    }
    Ok(())
}

/// Media types of a directive; `text/html` is always one of them, `*` is all.
///
/// # Errors
/// None; repeated types are warned about.
pub fn media_types(types: &mut Vec<Box<str>>, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if types.iter().any(|name| &**name == "*") {
        return Ok(());
    }
    if types.is_empty() {
        types.push("text/html".into());
    }
    for text in &directive.args {
        if &**text == "*" {
            *types = vec!["*".into()];
            return Ok(());
        }
        let name: Box<str> = text.to_ascii_lowercase().into();
        if types.contains(&name) {
            reader.warn(format!("duplicate MIME type \"{name}\""), &directive.place);
        } else {
            types.push(name);
        }
    }
    Ok(())
}

/// What a chain says about compression.
pub fn settle(chain: Chain<'_>) -> Gzip {
    let defaults = Gzip::default();
    let types = chain.find(|said| Some(&said.gzip.types).filter(|types| !types.is_empty()));
    let disable = chain.find(|said| Some(&said.gzip.disable).filter(|disable| !disable.is_empty()));
    let proxied = chain.find(|said| said.level.words("gzip_proxied")).unwrap_or_default();
    let has = |word: &str| proxied.contains(&word);
    Gzip {
        on: chain.flag("gzip", false),
        level: u32::try_from(chain.number("gzip_comp_level", 1)).unwrap_or(1),
        min_length: chain.number("gzip_min_length", 20),
        types: types.map_or(defaults.types, |types| types.clone().into()),
        http11_only: chain.word("gzip_http_version") != Some("1.0"),
        vary: chain.flag("gzip_vary", false),
        proxied: if has("off") {
            GzipProxied::default()
        } else {
            GzipProxied {
                expired: has("expired"),
                no_cache: has("no-cache"),
                no_store: has("no-store"),
                private: has("private"),
                no_last_modified: has("no_last_modified"),
                no_etag: has("no_etag"),
                auth: has("auth"),
                any: has("any"),
            }
        },
        disable: disable.map(|disable| disable.clone().into()).unwrap_or_default(),
    }
}
