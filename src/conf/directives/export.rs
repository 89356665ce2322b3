//! export: who else gets the certificates that are obtained, and what runs when they change.

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::certificate::CertSpec;
use crate::plan::export::{Export, Layout};
use crate::words::Place;

/// Reads `export NAME|all to=FOLDER …`.
///
/// # Errors
/// What is wrong with it.
pub fn export(reader: &Reader<'_>, directive: &Directive) -> Result<(Export, Place), Complaint> {
    let place = &directive.place;
    let wrong = |text: String| Complaint::emerg(text, place);
    let invalid = |text: &str| wrong(format!("invalid parameter \"{text}\""));
    let first = &*directive.args[0];
    let name = match first {
        "all" => None,
        name => {
            Some(name.parse().map_err(|_| wrong(format!("\"{name}\" is neither a name nor \"all\" in \"export\"")))?)
        }
    };
    let mut export = Export {
        name,
        folder: "".into(),
        layout: Layout::Pem,
        owner: None,
        mode: 0o600,
        hook: None,
        hook_timeout: std::time::Duration::from_secs(60),
    };
    for text in &directive.args[1..] {
        let (key, said) = text.split_once('=').filter(|(_, said)| !said.is_empty()).ok_or_else(|| invalid(text))?;
        match key {
            "to" => export.folder = reader.prefix_path(said),
            "layout" => {
                export.layout = match said {
                    "pem" => Layout::Pem,
                    "certbot" => Layout::Certbot,
                    "haproxy" => Layout::Haproxy,
                    _ => return Err(invalid(text)),
                }
            }
            "owner" => export.owner = owner(reader, said, place)?,
            "mode" => {
                let mode = u32::from_str_radix(said, 8).ok().filter(|mode| mode & 0o600 == 0o600 && *mode <= 0o777);
                export.mode = mode.ok_or_else(|| invalid(text))?;
            }
            "hook" => export.hook = Some(said.into()),
            "hook_timeout" => export.hook_timeout = value::seconds(said).ok_or_else(|| invalid(text))?,
            _ => return Err(invalid(text)),
        }
    }
    if export.folder.as_os_str().is_empty() {
        return Err(wrong("\"export\" needs \"to=FOLDER\"".to_owned()));
    }
    if export.mode & 0o004 != 0 {
        return Err(wrong("\"mode\" would let everybody read private keys".to_owned()));
    }
    Ok((export, place.clone()))
}

/// `USER` (with the user's group) or `USER:GROUP`.
fn owner(reader: &Reader<'_>, said: &str, place: &Place) -> Result<Option<(u32, u32)>, Complaint> {
    if reader.options.offline {
        return Ok(None);
    }
    let failed = |what: &str, name: &str| Complaint::emerg(format!("{what}(\"{name}\") failed"), place);
    let (user, group) = said.split_once(':').map_or((said, None), |(user, group)| (user, Some(group)));
    let (uid, own) = reader.world.user(user).ok_or_else(|| failed("getpwnam", user))?;
    let gid = match group {
        Some(group) => reader.world.group(group).ok_or_else(|| failed("getgrnam", group))?,
        None => own,
    };
    Ok(Some((uid, gid)))
}

/// Warns of exports that no certificate goes to.
pub fn check(reader: &mut Reader<'_>, exports: &[(Export, Place)], specs: &[CertSpec]) {
    for (export, place) in exports {
        if !specs.iter().any(|spec| export.lineage(spec).is_some()) {
            let which = export.name.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
            reader.warn(format!("no certificate is obtained that \"export {which}\" could take"), place);
        }
    }
}
