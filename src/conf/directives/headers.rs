//! add_header, add_trailer, expires, server_tokens.

use std::time::Duration;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::headers::{AddHeader, Expires, Headers, ServerTokens};

use super::Chain;

/// What one level has said about headers of answers.
#[derive(Debug, Default)]
pub struct Said {
    add: Vec<AddHeader>,
    trailers: Vec<AddHeader>,
    expires: Option<Expires>,
    /// An `Alt-Svc` that offers HTTP/3 was taken out: the level has headers of its own all the same.
    own: bool,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        !self.own && self.trailers.is_empty() && self.expires.is_none()
    }
}

/// Takes one of the directives that add headers.
///
/// # Errors
/// nginx's words.
pub fn take(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if &*directive.name == "expires" {
        return expires(said, reader, directive);
    }
    let name = &directive.args[0];
    let value = reader.template(&directive.args[1], &directive.place)?;
    let always = match directive.args.get(2).map(AsRef::as_ref) {
        None => false,
        Some("always") => true,
        Some(other) => {
            return Err(Complaint::emerg(format!("invalid parameter \"{other}\""), &directive.place));
        }
    };
    let header = AddHeader { name: name.clone(), value, always };
    if &*directive.name == "add_trailer" {
        said.headers.trailers.push(header);
        return Ok(());
    }
    said.headers.own = true;
    let offers_http3 = directive.args[1].trim_start().starts_with("h3") || directive.args[1].contains(" h3");
    if name.eq_ignore_ascii_case("alt-svc") && offers_http3 {
        let text = "the \"Alt-Svc\" header that offers HTTP/3 is not sent: HTTP/3 is not served";
        reader.warn(text, &directive.place);
        return Ok(());
    }
    said.headers.add.push(header);
    Ok(())
}

fn expires(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if said.headers.expires.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let (modified, text) = match &directive.args[..] {
        [text] => (false, text),
        [word, text] if &**word == "modified" => (true, text),
        _ => return Err(directive_is(directive, "invalid value")),
    };
    let template = reader.template(text, &directive.place)?;
    said.headers.expires = Some(match template.as_literal() {
        None => Expires::Template { modified, value: template },
        Some(_) => read_expires(text, modified).map_err(|wrong| directive_is(directive, wrong))?,
    });
    Ok(())
}

/// The value of `expires`; at load time, or at run time when it has variables.
///
/// # Errors
/// nginx's words.
pub fn read_expires(text: &str, modified: bool) -> Result<Expires, &'static str> {
    match text {
        "epoch" if !modified => return Ok(Expires::Epoch),
        "max" if !modified => return Ok(Expires::Max),
        "off" if !modified => return Ok(Expires::Off),
        _ => {}
    }
    let seconds = |text| value::seconds(text).ok_or("invalid value");
    if let Some(time) = text.strip_prefix('@') {
        if modified {
            return Err("daily time cannot be used with \"modified\" parameter");
        }
        let time = seconds(time)?;
        let day = Duration::from_secs(86_400);
        return if time > day { Err("daily time value must be less than 24 hours") } else { Ok(Expires::Daily(time)) };
    }
    let (sign, time) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(time), _) => (-1, time),
        (None, Some(time)) => (1, time),
        (None, None) => (1, text),
    };
    let time = sign * i64::try_from(seconds(time)?.as_secs()).unwrap_or(i64::MAX);
    Ok(if modified { Expires::Modified(time) } else { Expires::Access(time) })
}

/// What a chain says about headers of answers.
pub fn settle(chain: Chain<'_>) -> Headers {
    let add = chain.find(|said| said.headers.own.then_some(&said.headers.add));
    let trailers = chain.find(|said| Some(&said.headers.trailers).filter(|trailers| !trailers.is_empty()));
    Headers {
        add: add.map(|add| add.clone().into()).unwrap_or_default(),
        trailers: trailers.map(|trailers| trailers.clone().into()).unwrap_or_default(),
        expires: chain.find(|said| said.headers.expires.clone()).unwrap_or_default(),
        server_tokens: match chain.word("server_tokens") {
            Some("off") => ServerTokens::Off,
            Some("build") => ServerTokens::Build,
            _ => ServerTokens::On,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_reads_as_nginx_reads_it() {
        assert_eq!(read_expires("30d", false), Ok(Expires::Access(2_592_000)));
        assert_eq!(read_expires("-1", false), Ok(Expires::Access(-1)));
        assert_eq!(read_expires("+24h", true), Ok(Expires::Modified(86_400)));
        assert_eq!(read_expires("@15h30m", false), Ok(Expires::Daily(Duration::from_secs(55_800))));
        assert_eq!(read_expires("@25h", false), Err("daily time value must be less than 24 hours"));
        assert_eq!(read_expires("soon", false), Err("invalid value"));
    }
}
