//! The pages hang together, and the first of them is short.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::page::{anchors, pages, read, root, without_blocks};

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = without_blocks(&read(&page)).replace('\n', " ");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (link, _) = link;
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&page).parent().expect("has a folder");
            let target = if file.is_empty() { PathBuf::from(&page) } else { folder.join(file) };
            assert!(root().join(&target).exists(), "{page}: {link} is not there");
            let anchors = if anchor.is_empty() {
                BTreeSet::from([String::new()])
            } else {
                anchors(&read(&target.display().to_string()))
            };
            assert!(anchors.contains(anchor), "{page}: {link} has no such heading");
        }
    }
}

#[test]
fn the_readme_is_read_in_one_sitting() {
    assert!(read("README.md").lines().count() <= 150, "what is more belongs into docs/");
}
