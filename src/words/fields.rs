//! How are header fields kept? In order, with the case in which they came, without a copy of each value.
//! Not checked here: `h1` refuses bad bytes coming in, `http` refuses CR, LF and NUL going out.

use bytes::Bytes;

/// One header field. Names keep their case; comparisons ignore it (RFC 9110 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as it came or shall be sent.
    pub name: Bytes,
    /// The value without surrounding white space. Any bytes but CR, LF and NUL.
    pub value: Bytes,
}

/// Header fields of one message, in order; a name may stand several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// No fields; room for `capacity` of them.
    pub fn with_capacity(capacity: usize) -> Fields {
        Fields(Vec::with_capacity(capacity))
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|f| f.name.eq_ignore_ascii_case(name.as_bytes())).map(|f| &f.value)
    }

    /// Every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> + 'a {
        self.0.iter().filter(move |f| f.name.eq_ignore_ascii_case(name.as_bytes())).map(|f| &f.value)
    }

    /// Whether `name` stands at least once.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Field { name: name.into(), value: value.into() });
    }

    /// Replaces every `name` by one field, at the place of the first, or at the end.
    pub fn set(&mut self, name: &'static str, value: impl Into<Bytes>) {
        let value = value.into();
        let mut kept = Some(value);
        self.0.retain_mut(|f| {
            if !f.name.eq_ignore_ascii_case(name.as_bytes()) {
                return true;
            }
            match kept.take() {
                Some(value) => {
                    f.value = value;
                    true
                }
                None => false,
            }
        });
        if let Some(value) = kept {
            self.push(Bytes::from_static(name.as_bytes()), value);
        }
    }

    /// Takes every `name` away; tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|f| !f.name.eq_ignore_ascii_case(name.as_bytes()));
        self.0.len() != before
    }

    /// Keeps the fields for which `keep` says true.
    pub fn retain(&mut self, keep: impl FnMut(&Field) -> bool) {
        self.0.retain(keep);
    }

    /// The fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all fields away and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_replaces_in_place_and_keeps_the_case_of_the_others() {
        let mut fields = Fields::default();
        fields.push("X-A", "1");
        fields.push("Host", "a");
        fields.push("hOST", "b");
        fields.set("host", "c");
        let all: Vec<_> = fields.iter().map(|f| (&f.name[..], &f.value[..])).collect();
        assert_eq!(all, [(&b"X-A"[..], &b"1"[..]), (&b"Host"[..], &b"c"[..])]);
    }
}
