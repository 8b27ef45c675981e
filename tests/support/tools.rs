//! Where `tests/tools` puts what a test needs beside Rust. Who asks for a tool that is not there fails: a test that needs
//! one is `#[ignore]`d by its name, so that it runs only where somebody asks for it.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A file in `$FLEET_WEBHOOK_TOOLS`, else in `target/tools`.
///
/// # Panics
/// Where it is not there, with what installs it.
pub fn tool(path: &str) -> PathBuf {
    let tools = env::var_os("FLEET_WEBHOOK_TOOLS").map(PathBuf::from);
    let tools = tools.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"));
    let tool = tools.join(path);
    assert!(
        tool.exists(),
        "there is no {}: tests/tools/cluster and tests/tools/install put it there",
        tool.display()
    );
    tool
}
