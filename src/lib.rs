//! Webhook receiver for Rancher Fleet: a signed push becomes a patch of the GitRepos that follow it.

pub mod adapter;
pub mod assembly;
#[cfg(feature = "aws")]
pub mod aws;
mod causes;
pub mod cluster;
pub mod config;
pub mod delivery;
pub mod event;
pub mod gitrepo;
pub mod outcome;
mod payload;
pub mod provider;
pub mod reason;
pub mod receiver;
mod remembered;
pub mod repo_url;
pub mod retry;
pub mod secret;
pub mod signature;
pub mod telemetry;
pub mod trace;
pub mod verdict;
