//! root, alias, index, types, charset and the other directives of static answers: how they are read and inherited.

use std::collections::HashMap;
use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::table::Row;
use crate::conf::tree::Directive;
use crate::plan::files::{DisableSymlinks, Files, IfModifiedSince};
use crate::plan::template::Template;

use super::Chain;

/// Extension in lower case → media type.
type Types = HashMap<Box<str>, Box<str>>;

/// What one level has said about static answers.
#[derive(Debug, Default)]
pub struct Said {
    root: Option<Root>,
    index: Vec<Template>,
    types: Option<Arc<Types>>,
    symlinks: Option<DisableSymlinks>,
    charset: Option<Option<Template>>,
    charset_types: Vec<Box<str>>,
}

#[derive(Debug)]
struct Root {
    path: Template,
    /// For `alias`: the bytes of the URI that it replaces; the whole URI for a regex location.
    alias: Option<usize>,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        let Said { root, index, types, symlinks, charset, charset_types } = self;
        root.is_none()
            && index.is_empty()
            && types.is_none()
            && symlinks.is_none()
            && charset.is_none()
            && charset_types.is_empty()
    }
}

/// Takes one directive of static answers.
///
/// # Errors
/// nginx's words.
pub fn take(
    said: &mut super::Said,
    reader: &mut Reader<'_>,
    row: &'static Row,
    directive: &Directive,
) -> Result<(), Complaint> {
    match row.name {
        "root" | "alias" => root(said, reader, directive),
        "index" => index(said, reader, directive),
        "types" => types(said, reader, directive),
        "disable_symlinks" => symlinks(said, reader, directive),
        "charset" => charset(said, reader, directive),
        "charset_types" => super::gzip::media_types(&mut said.files.charset_types, reader, directive),
        "source_charset" => {
            reader.shared.charsets.0 |= !directive.args[0].eq_ignore_ascii_case("off");
            said.generic(reader, row, directive)
        }
        _ => {
            said.generic(reader, row, directive)?;
            if said.level.word("autoindex_format").is_some_and(|format| format != "html") {
                reader.not_yet("autoindex_format", &directive.place);
            }
            Ok(())
        }
    }
}

fn root(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let is_alias = &*directive.name == "alias";
    let emerg = |text: String| Err(Complaint::emerg(text, &directive.place));
    if let Some(root) = &said.files.root {
        if root.alias.is_some() == is_alias {
            return Err(directive_is(directive, "is duplicate"));
        }
        let earlier = if root.alias.is_some() { "alias" } else { "root" };
        let name = &directive.name;
        return emerg(format!("\"{name}\" directive is duplicate, \"{earlier}\" directive was specified earlier"));
    }
    if said.spot.named && is_alias {
        return emerg("the \"alias\" directive cannot be used inside the named location".to_owned());
    }
    let text = &*directive.args[0];
    for variable in ["document_root", "realpath_root"] {
        if text.contains(&format!("${variable}")) || text.contains(&format!("${{{variable}}}")) {
            let name = &directive.name;
            return emerg(format!("the ${variable} variable cannot be used in the \"{name}\" directive"));
        }
    }
    let text = if is_alias { text } else { text.strip_suffix('/').unwrap_or(text) };
    let path = if text.starts_with('$') {
        reader.template(text, &directive.place)?
    } else if text.contains('$') {
        let path = reader.prefix_path(text).to_string_lossy().into_owned();
        reader.template(&path, &directive.place)?
    } else {
        absolute(reader, text, &directive.args[0])
    };
    let length = if said.spot.regex { usize::MAX } else { said.spot.location.len() };
    said.files.root = Some(Root { path, alias: is_alias.then_some(length) });
    Ok(())
}

/// `root /` is the empty text, as nginx keeps it.
fn absolute(reader: &Reader<'_>, text: &str, written: &str) -> Template {
    if text.is_empty() && written == "/" {
        return Template::default();
    }
    Template::literal(reader.prefix_path(text).to_string_lossy().into_owned())
}

fn index(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    for (at, text) in directive.args.iter().enumerate() {
        if text.starts_with('/') && at + 1 != directive.args.len() {
            reader.warn("only the last index in \"index\" directive should be absolute", &directive.place);
        }
        if text.is_empty() {
            let text = "index \"\" in \"index\" directive is invalid";
            return Err(Complaint::emerg(text, &directive.place));
        }
        let template = reader.template(text, &directive.place)?;
        said.files.index.push(template);
    }
    Ok(())
}

fn types(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let mut types: Types = said.files.types.take().map_or_else(HashMap::new, Arc::unwrap_or_clone);
    let block = directive.block.as_ref().expect("the reader lets `types` through only with a block");
    let read = reader.lines(block, &mut |reader, line| {
        for extension in &line.args {
            let extension: Box<str> = extension.to_ascii_lowercase().into();
            if let Some(old) = types.insert(extension.clone(), line.name.clone()) {
                let new = &line.name;
                let text = format!(
                    "duplicate extension \"{extension}\", content type: \"{new}\", previous content type: \"{old}\""
                );
                reader.warn(text, &line.place);
            }
        }
        Ok(())
    });
    said.files.types = Some(Arc::new(types));
    read
}

fn symlinks(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if said.files.symlinks.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let emerg = |text: String| Err(Complaint::emerg(text, &directive.place));
    let (mut kind, mut from) = (None, None);
    for text in &directive.args {
        match &**text {
            word @ ("off" | "on" | "if_not_owner") => kind = Some(word),
            word => match word.strip_prefix("from=") {
                Some(path) => from = Some(reader.template(path, &directive.place)?),
                None => return emerg(format!("invalid parameter \"{word}\"")),
            },
        }
    }
    let Some(kind) = kind else {
        return emerg("\"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter".to_owned());
    };
    if directive.args.len() == 2 && from.is_none() {
        let (one, two) = (&directive.args[0], &directive.args[1]);
        return emerg(format!("duplicate parameters \"{one} {two}\""));
    }
    said.files.symlinks = Some(match kind {
        "on" => DisableSymlinks::On(from),
        "if_not_owner" => DisableSymlinks::IfNotOwner(from),
        _ if from.is_some() => return emerg("\"from=\" cannot be used with \"off\" parameter".to_owned()),
        _ => DisableSymlinks::Off,
    });
    Ok(())
}

fn charset(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if said.files.charset.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let text = &*directive.args[0];
    reader.shared.charsets.1 |= !["off", "utf-8"].iter().any(|name| text.eq_ignore_ascii_case(name));
    said.files.charset = Some(if text == "off" { None } else { Some(reader.template(text, &directive.place)?) });
    Ok(())
}

/// What a chain says about static answers.
pub fn settle(chain: Chain<'_>, reader: &Reader<'_>) -> Files {
    let root = chain.find(|said| said.files.root.as_ref());
    let defaults = Files::default();
    let index = chain.find(|said| Some(&said.files.index).filter(|index| !index.is_empty()));
    let charset_types = chain.find(|said| Some(&said.files.charset_types).filter(|types| !types.is_empty()));
    Files {
        root: root.map_or_else(
            || Template::literal(reader.prefix_path("html").to_string_lossy().into_owned()),
            |root| root.path.clone(),
        ),
        alias: root.is_some_and(|root| root.alias.is_some()),
        alias_replaces: root.and_then(|root| root.alias).unwrap_or(0),
        index: index.map_or(defaults.index, |index| index.clone().into()),
        autoindex: chain.flag("autoindex", false),
        autoindex_exact_size: chain.flag("autoindex_exact_size", true),
        autoindex_localtime: chain.flag("autoindex_localtime", false),
        etag: chain.flag("etag", true),
        if_modified_since: match chain.word("if_modified_since") {
            Some("off") => IfModifiedSince::Off,
            Some("before") => IfModifiedSince::Before,
            _ => IfModifiedSince::Exact,
        },
        max_ranges: chain.find(|said| said.level.size("max_ranges")),
        types: chain.find(|said| said.files.types.clone()).unwrap_or_else(|| Arc::clone(&reader.default_types)),
        default_type: chain.text("default_type").unwrap_or("text/plain").into(),
        log_not_found: chain.flag("log_not_found", true),
        disable_symlinks: chain.find(|said| said.files.symlinks.clone()).unwrap_or(DisableSymlinks::Off),
        charset: chain.find(|said| said.files.charset.clone()).flatten(),
        charset_types: charset_types.map_or(defaults.charset_types, |types| types.clone().into()),
    }
}

/// The types that hold where no `types` stands.
pub fn default_types() -> Arc<Types> {
    let types = [("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg")];
    Arc::new(types.into_iter().map(|(extension, name)| (extension.into(), name.into())).collect())
}
