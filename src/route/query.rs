//! Which part of a request does `$arg_…`, `$cookie_…` or `$http_…` mean? Look-ups as nginx does them.

use crate::words::Fields;
use bytes::Bytes;

/// `$arg_NAME`: the value of the first argument of that name, compared without case; never decoded.
pub fn argument(args: &Bytes, name: &str) -> Option<Bytes> {
    let mut start = 0;
    for part in args.split(|b| *b == b'&') {
        if part.len() > name.len()
            && part[name.len()] == b'='
            && part[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        {
            return Some(args.slice(start + name.len() + 1..start + part.len()));
        }
        start += part.len() + 1;
    }
    None
}

/// `$cookie_NAME` out of all `Cookie` fields. nginx compares names of cookies without case.
pub fn cookie(fields: &Fields, name: &str) -> Option<Bytes> {
    fields.get_all("cookie").find_map(|value| in_cookies(value, name))
}

fn in_cookies(value: &Bytes, name: &str) -> Option<Bytes> {
    let mut at = 0;
    for part in value.split(|b| matches!(b, b';' | b',')) {
        let begin = at + part.iter().take_while(|b| **b == b' ').count();
        let rest = &value[begin..];
        if begin + name.len() <= value.len() && rest[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            let after = name.len() + spaces(&rest[name.len()..]);
            if rest.get(after) == Some(&b'=') {
                let from = after + 1 + spaces(&rest[after + 1..]);
                let length = rest[from..].iter().take_while(|b| **b != b';').count();
                return Some(value.slice(begin + from..begin + from + length));
            }
        }
        at += part.len() + 1;
    }
    None
}

/// The value of a cookie of that name in `Set-Cookie` fields (`$upstream_cookie_NAME`).
pub fn set_cookie(fields: &Fields, name: &str) -> Option<Bytes> {
    fields.get_all("set-cookie").find_map(|value| {
        let head = value.get(..name.len())?;
        let after = name.len() + spaces(&value[name.len()..]);
        if !head.eq_ignore_ascii_case(name.as_bytes()) || value.get(after) != Some(&b'=') {
            return None;
        }
        let from = after + 1 + spaces(&value[after + 1..]);
        let length = value[from..].iter().take_while(|b| **b != b';').count();
        Some(value.slice(from..from + length))
    })
}

fn spaces(text: &[u8]) -> usize {
    text.iter().take_while(|b| **b == b' ').count()
}

/// `$http_NAME` and its kin: every field whose name, in lower case and with `_` for `-`, is `name`; several values are
/// joined by `, ` (cookies by `; `).
pub fn header(fields: &Fields, name: &str) -> Option<Bytes> {
    let mut matching = fields.iter().filter(|field| variable_name_is(&field.name, name)).map(|field| &field.value);
    let first = matching.next()?;
    let Some(second) = matching.next() else { return Some(first.clone()) };
    let glue: &[u8] = if name == "cookie" { b"; " } else { b", " };
    let mut joined = first.to_vec();
    for value in std::iter::once(second).chain(matching) {
        joined.extend_from_slice(glue);
        joined.extend_from_slice(value);
    }
    Some(Bytes::from(joined))
}

fn variable_name_is(field: &[u8], variable: &str) -> bool {
    let fold = |b: u8| if b == b'-' { b'_' } else { b.to_ascii_lowercase() };
    field.len() == variable.len() && field.iter().zip(variable.bytes()).all(|(f, v)| fold(*f) == v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_whole_names_without_case() {
        let args = Bytes::from_static(b"ab=1&B=2&b=3&c&d=&=x&e=%41");
        assert_eq!(argument(&args, "b").as_deref(), Some(&b"2"[..]));
        assert_eq!(argument(&args, "d").as_deref(), Some(&b""[..]));
        assert_eq!(argument(&args, "e").as_deref(), Some(&b"%41"[..]));
        assert_eq!(argument(&args, "c"), None);
        assert_eq!(argument(&args, "a"), None);
        assert_eq!(argument(&Bytes::new(), "a"), None);
    }

    #[test]
    fn cookies_are_found_in_every_field_and_end_at_a_semicolon() {
        let mut fields = Fields::default();
        fields.push("Cookie", "a=1; session=x,y; b");
        fields.push("cookie", "late = 2 ;z=");
        let found = |name| cookie(&fields, name).map(|v| String::from_utf8_lossy(&v).into_owned());
        assert_eq!(found("a").as_deref(), Some("1"));
        assert_eq!(found("session").as_deref(), Some("x,y"));
        assert_eq!(found("late").as_deref(), Some("2 "));
        assert_eq!(found("z").as_deref(), Some(""));
        assert_eq!(found("b"), None);
        assert_eq!(found("ession"), None);
        let mut set = Fields::default();
        set.push("Set-Cookie", "sid=77; Path=/");
        assert_eq!(set_cookie(&set, "sid").as_deref(), Some(&b"77"[..]));
        assert_eq!(set_cookie(&set, "Path"), None);
    }

    #[test]
    fn several_fields_of_one_name_are_joined() {
        let mut fields = Fields::default();
        fields.push("X-Forwarded-For", "1");
        fields.push("x-forwarded-for", "2");
        fields.push("X_Forwarded_For", "3");
        assert_eq!(header(&fields, "x_forwarded_for").as_deref(), Some(&b"1, 2, 3"[..]));
        assert_eq!(header(&fields, "x_other"), None);
    }
}
