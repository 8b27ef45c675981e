//! Texts that may be missing, in one allocation: an index of thousands of GitRepos would else be mostly what an allocator
//! and a `String` add to each of them. `record` says which text is which.

/// Some texts, one behind the other.
#[derive(Clone, Debug)]
pub(super) struct Texts<const N: usize> {
    all: Box<str>,
    lengths: [Option<u32>; N],
}

impl<const N: usize> Texts<N> {
    /// Keeps the texts; one of 4 GiB, which no object of Kubernetes holds, as if it were missing.
    pub(super) fn of(texts: [Option<&str>; N]) -> Self {
        let lengths = texts.map(|text| text.and_then(|text| u32::try_from(text.len()).ok()));
        let kept = texts.into_iter().zip(lengths).filter(|(_, length)| length.is_some());
        let all: String = kept.filter_map(|(text, _)| text).collect();
        Self { all: all.into_boxed_str(), lengths }
    }

    /// Gives them back.
    pub(super) fn each(&self) -> [Option<&str>; N] {
        let mut rest = &*self.all;
        self.lengths.map(|length| {
            let (text, behind) = rest.split_at_checked(usize::try_from(length?).ok()?)?;
            rest = behind;
            Some(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_were_and_what_is_empty_is_not_missing() {
        let texts = [Some("apps/shop"), None, Some(""), Some("größer"), None, Some("x")];
        assert_eq!(Texts::of(texts).each(), texts);
        assert_eq!(Texts::of([None, None]).each(), [None, None]);
        assert_eq!(Texts::of([]).each(), []);
    }
}
