//! What the pages say of the program is what its source says: variables, outcomes, limits.

use std::{collections::BTreeSet, fs, process::Command};

use fleet_webhook::{
    config::{VARIABLES, Variable},
    telemetry::{Format, Metrics},
};
use serde_json::{Map, Value};

use crate::{
    commands::variables,
    page::{read, root},
    support::ports::free_port,
};

#[test]
fn the_contract_has_the_variables_that_are_read_with_their_defaults_and_no_others() {
    let contract = read("docs/contract.md");
    for variable in literals("src/config").into_iter().filter(|text| is_variable(text)) {
        assert!(
            contract.contains(&format!("`{variable}`")),
            "{variable} is not in docs/contract.md"
        );
    }
    let table = contract.split("\n## ").find(|section| section.starts_with("2. "));
    let rows = table.expect("has a section 2").lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<_> = rows.filter_map(|row| row.split_once(" | ")).collect();
    for name in rows.iter().flat_map(|(names, _)| names.split('`')).filter(|name| is_variable(name))
    {
        let is_read = VARIABLES.iter().any(|variable| variable.name == name);
        assert!(is_read, "docs/contract.md: nobody reads {name}");
    }
    for Variable { name, default, .. } in VARIABLES {
        let row = rows.iter().find(|(names, _)| names.contains(&format!("`{name}`")));
        let (_, row) = row.unwrap_or_else(|| panic!("{name} has no row in docs/contract.md"));
        let promised = row.split(" | ").next().unwrap_or_default();
        let promised = promised.replace('`', "").replace(';', ",");
        assert!(promised.contains(default), "{name}: {default:?} is promised as {promised:?}");
    }
}

fn is_variable(text: &str) -> bool {
    let is_of_it = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() > 3 && text.chars().all(is_of_it)
}

#[test]
fn every_outcome_and_reason_is_promised_and_explained() {
    for page in ["docs/contract.md", "docs/nothing-happens.md"] {
        let text = read(page);
        for name in named("src/outcome/kind.rs").into_iter().chain(named("src/reason.rs")) {
            assert!(text.contains(&format!("`{name}`")), "{name} is not in {page}");
        }
    }
}

#[test]
fn what_explain_says_of_each_reason_is_on_the_page() {
    let page = read("docs/nothing-happens.md");
    let source = read("src/explain.rs");
    let (_, reasons) = source.split_once("let why = match reason {").expect("is there");
    let (reasons, _) = reasons.split_once("};").expect("ends");
    let texts = reasons.split('"').skip(1).step_by(2);
    // Between what it fills in.
    let parts = texts.flat_map(|text| text.split(['{', '}']).step_by(2)).map(str::trim);
    let parts: Vec<_> = parts.filter(|part| part.len() > 8).collect();
    assert!(parts.len() > 10, "they are found: {parts:?}");
    for part in parts {
        assert!(page.contains(part), "{part:?} is not in docs/nothing-happens.md");
    }
}

/// What the variants of a file's enums are called outside.
fn named(file: &str) -> Vec<String> {
    let source = read(file);
    let rows = source.lines().filter(|line| line.trim_start().starts_with("Self::"));
    rows.filter_map(|row| row.split('"').nth(1)).map(str::to_owned).collect()
}

#[test]
fn every_figure_is_on_the_operating_page() {
    let page = read("docs/operating.md");
    let rendered = Metrics::new().render(Format::OpenMetrics);
    let figures: Vec<&str> = rendered
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
        .collect();
    assert!(figures.len() > 5, "they are found: {rendered}");
    for figure in figures {
        assert!(page.contains(&format!("`{figure}")), "{figure} is not in docs/operating.md");
    }
}

#[test]
fn every_field_of_a_deliverys_log_line_is_on_the_operating_page() {
    let page = read("docs/operating.md");
    let quickstart = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "quickstart", "--", "--json"])
        .current_dir(root())
        .env_clear()
        .envs(variables())
        .envs([("RUST_LOG", "info"), ("LOG_FORMAT", "json"), ("PORT", &free_port().to_string())])
        .output()
        .expect("cargo runs");
    let log = String::from_utf8(quickstart.stderr).expect("is text");
    let lines =
        log.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    let is_delivery = |line: &Map<String, Value>| line.get("message") == Some(&"delivery".into());
    let lines: Vec<_> = lines.filter(is_delivery).collect();
    assert!(lines.len() > 10, "{log}");
    for field in lines.iter().flat_map(|line| line.keys()) {
        assert!(page.contains(&format!("`{field}`")), "{field} is not in docs/operating.md");
    }
}

#[test]
fn the_limits_of_the_operating_page_are_those_of_the_code() {
    let page = read("docs/operating.md");
    let source = sources("src").join("\n");
    let (_, tables) = page.split_once("\n## Limits\n").expect("has its limits");
    let mut limits = 0;
    for row in tables.lines().filter(|line| line.ends_with("` |")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, said, constant] = cells[..] else { panic!("not three cells: {row}") };
        let constant = constant.trim_matches('`');
        let definition = format!("const {constant}: ");
        let of_it =
            source.lines().filter_map(|line| line.split_once(&definition)?.1.split_once(" = "));
        let values: Vec<String> = of_it.map(|(_, value)| in_words(constant, value)).collect();
        assert!(values.iter().any(|value| value == said), "docs/operating.md: {values:?}: {row}");
        limits += 1;
    }
    assert!(limits > 20, "the tables are there");
}

/// A constant's value as the page has it: a time in its largest whole unit, a size in KiB or MiB, a number.
fn in_words(constant: &str, expression: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit() || c == '_';
    let factors = expression.split(|c| !is_digit(c)).filter_map(|factor| {
        let digits = factor.replace('_', "");
        digits.parse::<u64>().ok()
    });
    let value: u64 = factors.product();
    let milliseconds = match expression.split('(').next() {
        Some("Duration::from_millis") => Some(value),
        Some("Duration::from_secs") => Some(value * 1000),
        Some("Duration::from_mins") => Some(value * 60_000),
        _ if constant.ends_with("_MILLISECONDS") => Some(value),
        _ if constant.ends_with("_SECONDS") => Some(value * 1000),
        _ => None,
    };
    match milliseconds {
        Some(time) if time % 3_600_000 == 0 => format!("{} h", time / 3_600_000),
        Some(time) if time % 60_000 == 0 => format!("{} min", time / 60_000),
        Some(time) if time % 1000 == 0 => format!("{} s", time / 1000),
        Some(time) => format!("{time} ms"),
        None if value >= 1 << 20 && value.is_multiple_of(1 << 20) => format!("{} MiB", value >> 20),
        None if value > 1 << 10 && value.is_multiple_of(1 << 10) => format!("{} KiB", value >> 10),
        None => value.to_string(),
    }
}

/// The texts in quotes of a module.
fn literals(module: &str) -> BTreeSet<String> {
    let sources = sources(module);
    let literals = sources.iter().flat_map(|code| code.split('"').skip(1).step_by(2));
    literals.map(str::to_owned).collect()
}

/// The source of a module: of its file, and of the folder that belongs to it, without their tests.
fn sources(module: &str) -> Vec<String> {
    let mut waiting = vec![root().join(format!("{module}.rs")), root().join(module)];
    let mut sources = Vec::new();
    while let Some(path) = waiting.pop() {
        if let Ok(folder) = fs::read_dir(&path) {
            waiting.extend(folder.flatten().map(|entry| entry.path()));
        } else if let Ok(source) = fs::read_to_string(&path) {
            sources.extend(source.split("#[cfg(test)]\nmod ").next().map(str::to_owned));
        }
    }
    sources
}
