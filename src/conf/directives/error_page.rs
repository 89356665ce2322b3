//! error_page.

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::location::ErrorPage;

use super::Chain;

/// Statuses that clients never see: their pages answer 400 unless `=` says other.
const INNER: [u16; 4] = [494, 495, 496, 497];

/// Takes one `error_page`.
///
/// # Errors
/// nginx's words.
pub fn take(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    let invalid = |text: &str| Complaint::emerg(format!("invalid value \"{text}\""), place);
    let count = directive.args.len();
    let before_last = &*directive.args[count - 2];
    let (answer, statuses) = match before_last.strip_prefix('=') {
        None => (None, &directive.args[..count - 1]),
        Some(_) if count == 2 => return Err(invalid(before_last)),
        Some("") => (Some(None), &directive.args[..count - 2]),
        Some(code) => {
            let code = value::number(code).and_then(|code| u16::try_from(code).ok());
            (Some(Some(code.ok_or_else(|| invalid(before_last))?)), &directive.args[..count - 2])
        }
    };
    let target = reader.template(&directive.args[count - 1], place)?;
    for text in statuses {
        let status = value::number(text).filter(|status| *status != 499).ok_or_else(|| invalid(text))?;
        let status = u16::try_from(status)
            .ok()
            .filter(|status| (300..=599).contains(status))
            .ok_or_else(|| Complaint::emerg(format!("value \"{text}\" must be between 300 and 599"), place))?;
        let answer = if answer.is_none() && INNER.contains(&status) { Some(Some(400)) } else { answer };
        said.error_pages.push(ErrorPage { status, answer, target: target.clone() });
    }
    Ok(())
}

/// The error pages of a chain: those of the innermost level that has any.
pub fn settle(chain: Chain<'_>) -> Box<[ErrorPage]> {
    let pages = chain.find(|said| Some(&said.error_pages).filter(|pages| !pages.is_empty()));
    pages.map(|pages| pages.clone().into()).unwrap_or_default()
}
