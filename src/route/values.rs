//! What does a template say for a request? Whoever holds the request gives values of variables through [`Values`];
//! nothing here knows where they come from.

use crate::plan::template::{Segment, Template, Var};
use bytes::Bytes;

/// Gives values of variables and captures.
pub trait Values {
    /// The value of `var`; `None` if it is not set.
    fn value(&self, var: &Var) -> Option<Bytes>;

    /// `$1` to `$9`: a capture of the last regular expression that matched.
    fn capture(&self, number: u8) -> Option<Bytes>;

    /// Writes the value of `var` behind `out`; tells whether it is set. For values that are made of digits, this
    /// saves the copy that [`Values::value`] needs.
    fn append(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        match self.value(var) {
            Some(value) => {
                out.extend_from_slice(&value);
                true
            }
            None => false,
        }
    }
}

/// The text of `template`. Literals and single variables are shared, not copied.
pub fn text(template: &Template, values: &(impl Values + ?Sized)) -> Bytes {
    match &*template.segments {
        [] => Bytes::new(),
        [Segment::Text(text)] => text.clone(),
        [Segment::Var(var)] => values.value(var).unwrap_or_default(),
        [Segment::Capture(number)] => values.capture(*number).unwrap_or_default(),
        segments => {
            let mut out = Vec::with_capacity(64);
            append(segments, values, &mut out);
            Bytes::from(out)
        }
    }
}

/// Writes the text of `segments` behind `out`.
pub fn append(segments: &[Segment], values: &(impl Values + ?Sized), out: &mut Vec<u8>) {
    for segment in segments {
        match segment {
            Segment::Text(text) => out.extend_from_slice(text),
            Segment::Var(var) => drop(values.append(var, out)),
            Segment::Capture(number) => {
                if let Some(capture) = values.capture(*number) {
                    out.extend_from_slice(&capture);
                }
            }
        }
    }
}

/// What nginx takes for true (`if`, `if=`): neither empty nor `0`.
pub fn is_true(value: &[u8]) -> bool {
    !matches!(value, b"" | b"0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::template::Builtin;

    struct Few;
    impl Values for Few {
        fn value(&self, var: &Var) -> Option<Bytes> {
            (*var == Var::Builtin(Builtin::Host)).then(|| Bytes::from_static(b"a.example"))
        }
        fn capture(&self, number: u8) -> Option<Bytes> {
            (number == 1).then(|| Bytes::from_static(b"one"))
        }
    }

    #[test]
    fn what_is_not_set_is_empty() {
        let host = Segment::Var(Var::Builtin(Builtin::Host));
        let segments =
            [Segment::Text("x-".into()), host, Segment::Capture(1), Segment::Capture(2), Segment::Var(Var::User(0))];
        assert_eq!(text(&Template { segments: Box::new(segments) }, &Few), "x-a.exampleone");
        assert_eq!(text(&Template::literal("plain"), &Few), "plain");
        assert!(is_true(b"00") && !is_true(b"0") && !is_true(b""));
    }
}
