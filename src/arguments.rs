//! What the program is asked to do by its arguments; `main` does it.

use std::fmt::Write as _;

use crate::config::VARIABLES;

/// What the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// It serves.
    Serve,
    /// It says how it is used.
    Help,
    /// It names its version.
    Version,
}

/// An argument that is none of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown argument {0:?}\n\n{usage}", usage = USAGE)]
pub struct UnknownArgument(String);

/// The one-line form of [`help`].
const USAGE: &str = "usage: fleet-webhook [--help | --version]";

impl Command {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// [`UnknownArgument`] for the first one too many.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, UnknownArgument> {
        let mut arguments = arguments.into_iter();
        let command = match arguments.next() {
            None => return Ok(Self::Serve),
            Some(first) => match first.as_str() {
                "--help" | "-h" => Self::Help,
                "--version" | "-V" => Self::Version,
                _ => return Err(UnknownArgument(first)),
            },
        };
        arguments.next().map_or(Ok(command), |next| Err(UnknownArgument(next)))
    }
}

/// The version, as a line.
pub fn version() -> String {
    concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n").to_owned()
}

/// How the program is used: each variable with its default and what it is for.
pub fn help() -> String {
    let mut help = format!(
        "{USAGE}\n\nReceives the webhooks of Git servers for Rancher Fleet. It takes no arguments to serve; environment \
         variables say how:\n\n"
    );
    for variable in VARIABLES {
        let default = match variable.default {
            "" => String::new(),
            default => format!(" (default: {default})"),
        };
        writeln!(help, "  {:<22} {}{default}", variable.name, variable.says)
            .expect("a string takes it");
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, UnknownArgument> {
        Command::parse(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn without_arguments_it_serves() {
        assert_eq!(parse(&[]), Ok(Command::Serve));
        assert_eq!(parse(&["--help"]), Ok(Command::Help));
        assert_eq!(parse(&["--version"]), Ok(Command::Version));
    }

    #[test]
    fn what_it_does_not_know_is_answered_with_the_usage() {
        for arguments in [&["serve"][..], &["--port=80"], &["--help", "me"]] {
            let error = parse(arguments).expect_err("is refused").to_string();
            assert!(error.contains("usage: fleet-webhook"), "{error}");
        }
    }

    #[test]
    fn the_help_has_a_line_for_each_variable_of_the_contract() {
        let (help, contract) = (help(), include_str!("../docs/contract.md"));
        let section = contract.split("\n## ").find(|section| section.starts_with("2. "));
        let table = section.expect("has a section 2").lines();
        let table = table.filter(|line| line.starts_with("| `"));
        let is_ours = |name: &&str| {
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
                && *name != "AWS_LAMBDA_RUNTIME_API"
        };
        let first_cells = table.filter_map(|row| row.split('|').nth(1));
        let named = first_cells.flat_map(|cell| cell.split('`')).filter(is_ours);
        let named: Vec<_> = named.filter(|name| name.len() > 3).collect();
        assert!(named.len() > 20, "{named:?}");
        // Promised by §8 and not built yet.
        for name in named.into_iter().filter(|name| !NOT_BUILT.contains(name)) {
            assert!(help.contains(&format!("  {name} ")), "{name} is missing in\n{help}");
        }
        for variable in VARIABLES {
            assert!(contract.contains(variable.name), "{} is not in the contract", variable.name);
        }
        assert!(help.lines().all(|line| line.len() <= 140), "{help}");
    }

    const NOT_BUILT: [&str; 2] = ["FORWARD_QUEUE_URLS", "DELIVERY_QUEUE_URL"];
}
