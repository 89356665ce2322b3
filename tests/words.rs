//! Does a wrong configuration get nginx's words, and a right one none? Hundreds of small ones, with what a real nginx said
//! of each (`tests/data/words.tsv`). Files, hosts and certificates do not exist in this world.

#![allow(clippy::unwrap_used)]

use semper::conf::{Level, MemoryWorld, Options, load};

/// What only we say: that something is not honoured, and that this is harmless.
fn is_ours(text: &str) -> bool {
    ["is ignored: ", "is never spoken", "not spoken, left out of"].iter().any(|words| text.contains(words))
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.as_str().starts_with('n') => {
                chars.next();
                out.push('\n');
            }
            '\\' if chars.as_str().starts_with('\\') => {
                chars.next();
                out.push('\\');
            }
            other => out.push(other),
        }
    }
    out
}

#[test]
fn small_configurations_get_the_words_of_nginx() {
    let mut wrong = Vec::new();
    let lines = include_str!("data/words.tsv").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let mut cells = line.split('\t');
        let text = unescape(cells.next().unwrap());
        let nginx: Vec<&str> = cells.collect();
        let mut world = MemoryWorld::default();
        world.files.insert("/p/nginx.conf".to_owned(), text.clone().into_bytes());
        let loaded = load(&world, &Options::new("/p/nginx.conf", "/p"));
        let refused = loaded.complaints.iter().any(|complaint| complaint.text.contains("is not yet supported"));
        let mut semper = Vec::new();
        for complaint in &loaded.complaints {
            let said = complaint.to_string();
            if !is_ours(&said) {
                semper.push(said.trim_start_matches("nginx: ").to_owned());
            }
            if complaint.level == Level::Emerg {
                break;
            }
        }
        if refused {
            semper.pop();
        }
        if semper != nginx {
            wrong.push(format!("{text}  nginx:  {nginx:?}\n  semper: {semper:?}\n"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_page_of_directives_is_what_the_table_says() {
    let page = semper::conf::document::page(semper::conf::table::table());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/directives.md");
    if std::env::var_os("SEMPER_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "docs/directives.md is stale: run this test with SEMPER_BLESS=1");
}
