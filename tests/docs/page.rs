//! A page as the tests of the documentation see it: fenced blocks with their marks, headings, and where it lies.

use std::{collections::BTreeSet, fs, path::PathBuf};

/// A fenced block of a page.
pub(crate) struct Block {
    pub(crate) page: String,
    line: usize,
    pub(crate) language: String,
    marks: Vec<(String, Option<String>)>,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn mark(&self, name: &str) -> Option<&Option<String>> {
        self.marks.iter().find(|(mark, _)| mark == name).map(|(_, value)| value)
    }

    pub(crate) fn runs_on(&self, place: Option<&str>) -> bool {
        self.mark("run").is_some_and(|value| value.as_deref() == place)
    }

    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The pages by their paths in the repository, the README first: it makes the secret that others look at.
pub(crate) fn pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).expect("is a folder").flatten();
    let docs = docs.map(|file| format!("docs/{}", file.file_name().to_string_lossy()));
    let mut docs: Vec<String> = docs.filter(|page| page.ends_with(".md")).collect();
    docs.sort();
    let first = ["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(str::to_owned);
    first.into_iter().chain(docs).collect()
}

/// The fenced blocks of a page. In a list they are indented, and so is each line of them.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let mut lines = text.lines().zip(1..);
    let mut blocks = Vec::new();
    while let Some((opening, line)) = lines.next() {
        let Some(info) = opening.trim_start().strip_prefix("```") else { continue };
        let indent = opening.len() - opening.trim_start().len();
        let mut words = info.split_whitespace().map(str::to_owned);
        let language = words.next().unwrap_or_default();
        let marks = words.map(|word| match word.split_once('=') {
            Some((mark, value)) => (mark.to_owned(), Some(value.to_owned())),
            None => (word, None),
        });
        let mut block = Block {
            page: page.to_owned(),
            line,
            language,
            marks: marks.collect(),
            text: String::new(),
        };
        for (within, _) in lines.by_ref() {
            if within.trim() == "```" {
                break;
            }
            block.text.push_str(within.get(indent..).unwrap_or_default());
            block.text.push('\n');
        }
        blocks.push(block);
    }
    blocks
}

pub(crate) fn without_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let text = without_blocks(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            let kept =
                words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}
