//! Why a GitRepo of the pushed repository is not patched, in the words of contract §6; `verdict` and `receiver` give
//! them, `outcome` shows them.

/// Why a GitRepo of the pushed repository was not patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It follows another branch.
    Branch,
    /// It stays on a revision.
    Revision,
    /// The push deleted the ref that it follows.
    Deleted,
    /// The ref that it follows moved to what is no commit id.
    UnusableCommit,
    /// It has the commit.
    Unchanged,
    /// The provider did not say which refs changed.
    RefsUnknown,
    /// A later push was announced to it.
    Superseded,
    /// It was deleted meanwhile, or deploys another repository by now.
    Gone,
    /// The patch failed for good.
    Failed,
    /// Its governing secret does not verify the delivery.
    Unverified,
    /// Its own secret does not exist.
    SecretMissing,
    /// Its governing secret has no key for the provider, or an unusable one.
    SecretKeyMissing,
    /// Its own secret may not be read.
    SecretForbidden,
}

impl Reason {
    /// Its name in answers and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Revision => "revision",
            Self::Deleted => "deleted",
            Self::UnusableCommit => "unusable_commit",
            Self::Unchanged => "unchanged",
            Self::RefsUnknown => "refs_unknown",
            Self::Superseded => "superseded",
            Self::Gone => "gone",
            Self::Failed => "failed",
            Self::Unverified => "unverified",
            Self::SecretMissing => "secret_missing",
            Self::SecretKeyMissing => "secret_key_missing",
            Self::SecretForbidden => "secret_forbidden",
        }
    }
}
