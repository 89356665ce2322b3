//! proxy_*: what is said about requests to upstreams on any level, beside plain values. `proxy_pass` itself and how all
//! of it becomes a plan stand in `proxy_pass.rs`.

use crate::conf::address::{self, AddressKind, Wanted};
use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::table::Row;
use crate::conf::tree::Directive;
use crate::conf::variables::Names;
use crate::plan::pattern::Pattern;
use crate::plan::proxy::{CookieFlags, CookieName, CookieRewrite, Redirect};
use crate::plan::template::Template;

/// What one level has said.
#[derive(Debug, Default)]
pub struct Said {
    /// `proxy_set_header`.
    pub set_headers: Vec<(Box<str>, Template)>,
    /// `proxy_redirect`: `off`, or a list.
    pub redirects: Option<Vec<RedirectSaid>>,
    /// `proxy_cookie_domain`; empty is `off`.
    pub cookie_domains: Option<Vec<CookieRewrite>>,
    /// `proxy_cookie_path`; empty is `off`.
    pub cookie_paths: Option<Vec<CookieRewrite>>,
    /// `proxy_cookie_flags`; empty is `off`.
    pub cookie_flags: Option<Vec<CookieFlags>>,
    /// `proxy_set_body`.
    pub set_body: Option<Template>,
    /// `proxy_bind`; `Some(None)` is `off`.
    pub bind: Option<Option<Template>>,
    /// Whether `proxy_pass` stands on this level, and whether it has variables.
    pub pass: Option<bool>,
}

/// One `proxy_redirect`.
#[derive(Clone, Debug)]
pub enum RedirectSaid {
    /// `default`: follows from `proxy_pass`.
    Default,
    /// As written.
    Written(Redirect),
}

/// Takes one of the `proxy_` directives of any level.
///
/// # Errors
/// nginx's words.
pub fn take(
    said: &mut super::Said,
    reader: &mut Reader<'_>,
    row: &'static Row,
    directive: &Directive,
) -> Result<(), Complaint> {
    let place = &directive.place;
    match row.name {
        "proxy_set_header" => {
            let value = reader.template(&directive.args[1], place)?;
            said.proxy.set_headers.push((directive.args[0].clone(), value));
            Ok(())
        }
        "proxy_redirect" => redirect(said, reader, directive),
        "proxy_cookie_domain" => cookie(said, reader, directive, true),
        "proxy_cookie_path" => cookie(said, reader, directive, false),
        "proxy_cookie_flags" => cookie_flags(said, reader, directive),
        "proxy_set_body" => {
            said.generic(reader, row, directive)?;
            said.proxy.set_body = Some(reader.template(&directive.args[0], place)?);
            Ok(())
        }
        "proxy_bind" => bind(said, reader, directive),
        "proxy_ssl_conf_command" => super::ssl::conf_command(said, reader, row, directive),
        "proxy_ssl_certificate" | "proxy_ssl_certificate_key" => {
            said.generic(reader, row, directive)?;
            if said.level.template(row.name).is_some_and(|path| path.as_literal().is_none()) {
                reader.not_yet(&format!("{} with variables", row.name), place);
            }
            Ok(())
        }
        _ => {
            super::unheeded::check(directive)?;
            said.generic(reader, row, directive)
        }
    }
}

fn redirect(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let emerg = |text: String| Complaint::emerg(text, &directive.place);
    if said.proxy.redirects.as_ref().is_some_and(Vec::is_empty) {
        return Err(directive_is(directive, "is duplicate"));
    }
    let entry = match &directive.args[..] {
        [word] if &**word == "off" => {
            if said.proxy.redirects.is_some() {
                return Err(directive_is(directive, "is duplicate"));
            }
            said.proxy.redirects = Some(Vec::new());
            return Ok(());
        }
        [word] if &**word == "default" => match said.proxy.pass {
            Some(false) => RedirectSaid::Default,
            Some(true) => {
                let text = "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables";
                return Err(emerg(text.to_owned()));
            }
            None => {
                let text = "\"proxy_redirect default\" should be placed after the \"proxy_pass\" directive";
                return Err(emerg(text.to_owned()));
            }
        },
        [word] => return Err(emerg(format!("invalid parameter \"{word}\""))),
        [from, to, ..] => {
            let rewrite = match regex(from) {
                Some((text, caseless)) => {
                    let (pattern, _) = pattern(reader, text, caseless, directive)?;
                    Redirect::Pattern { pattern, to: reader.template(to, &directive.place)? }
                }
                None => {
                    let from = reader.template(from, &directive.place)?;
                    Redirect::Prefix { from, to: reader.template(to, &directive.place)? }
                }
            };
            RedirectSaid::Written(rewrite)
        }
        [] => return Ok(()),
    };
    said.proxy.redirects.get_or_insert_default().push(entry);
    Ok(())
}

/// `~re` or `~*re`: the expression, and whether case is ignored.
fn regex(text: &str) -> Option<(&str, bool)> {
    let text = text.strip_prefix('~')?;
    Some(text.strip_prefix('*').map_or((text, false), |text| (text, true)))
}

fn pattern(
    reader: &mut Reader<'_>,
    text: &str,
    caseless: bool,
    directive: &Directive,
) -> Result<(Pattern, Names), Complaint> {
    let (pattern, names) = reader.variables.pattern(text, caseless, &directive.place)?;
    if !names.is_empty() {
        reader.not_yet(&format!("named groups in {}", directive.name), &directive.place);
    }
    Ok((pattern, names))
}

fn cookie(
    said: &mut super::Said,
    reader: &mut Reader<'_>,
    directive: &Directive,
    domain: bool,
) -> Result<(), Complaint> {
    let slot = if domain { &mut said.proxy.cookie_domains } else { &mut said.proxy.cookie_paths };
    if slot.as_ref().is_some_and(Vec::is_empty) {
        return Err(directive_is(directive, "is duplicate"));
    }
    let [from, to] = &directive.args[..] else {
        let word = &directive.args[0];
        if &**word != "off" {
            return Err(Complaint::emerg(format!("invalid parameter \"{word}\""), &directive.place));
        }
        if slot.is_some() {
            return Err(directive_is(directive, "is duplicate"));
        }
        *slot = Some(Vec::new());
        return Ok(());
    };
    let rewrite = match regex(from) {
        Some((text, caseless)) => {
            // A domain has no case: `~` ignores it there too, and `*` belongs to the expression.
            let (text, caseless) = if domain { (&from[1..], true) } else { (text, caseless) };
            let (pattern, _) = pattern(reader, text, caseless, directive)?;
            CookieRewrite::Pattern { pattern, to: reader.template(to, &directive.place)? }
        }
        None => {
            let bare = |text| if domain { str::strip_prefix(text, '.').unwrap_or(text) } else { text };
            let from = reader.template(bare(from), &directive.place)?;
            CookieRewrite::Literal { from, to: reader.template(bare(to), &directive.place)? }
        }
    };
    slot.get_or_insert_default().push(rewrite);
    Ok(())
}

/// What a flag may be, without variables in it.
const FLAGS: [&str; 8] =
    ["secure", "nosecure", "httponly", "nohttponly", "samesite=strict", "samesite=lax", "samesite=none", "nosamesite"];

fn cookie_flags(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    let slot = &mut said.proxy.cookie_flags;
    if slot.as_ref().is_some_and(Vec::is_empty) {
        return Err(directive_is(directive, "is duplicate"));
    }
    let text = &*directive.args[0];
    if directive.args.len() == 1 {
        if text != "off" {
            return Err(Complaint::emerg(format!("invalid parameter \"{text}\""), place));
        }
        if slot.is_some() {
            return Err(directive_is(directive, "is duplicate"));
        }
        *slot = Some(Vec::new());
        return Ok(());
    }
    let cookie = match text.strip_prefix('~') {
        Some(text) => CookieName::Pattern(pattern(reader, text, true, directive)?.0),
        None => CookieName::Literal(reader.template(text, place)?),
    };
    let mut flags = Vec::new();
    for text in directive.args.iter().skip(1) {
        let flag = reader.template(text, place)?;
        if flag.as_literal().is_some() && !FLAGS.iter().any(|known| text.eq_ignore_ascii_case(known)) {
            // nginx says so only when a cookie comes by.
            reader.warn(format!("invalid proxy_cookie_flags flag \"{text}\""), place);
        }
        flags.push(flag);
    }
    slot.get_or_insert_default().push(CookieFlags { cookie, flags: flags.into() });
    Ok(())
}

fn bind(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    if said.proxy.bind.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let text = &*directive.args[0];
    if text == "off" && directive.args.len() == 1 {
        said.proxy.bind = Some(None);
        return Ok(());
    }
    let template = reader.template(text, place)?;
    if template.as_literal().is_some() {
        let wanted = Wanted { listen: false, uri_part: false, resolve: false, default_port: 0 };
        let found = address::parse(text, wanted, reader.world).map(|address| address.kind);
        if !matches!(found, Ok(AddressKind::Literal(_))) {
            return Err(Complaint::emerg(format!("invalid address \"{text}\""), place));
        }
    }
    match directive.args.get(1).map(AsRef::as_ref) {
        None => {}
        Some("transparent") => reader.not_yet("proxy_bind … transparent", place),
        Some(other) => return Err(Complaint::emerg(format!("invalid parameter \"{other}\""), place)),
    }
    said.proxy.bind = Some(Some(template));
    Ok(())
}
