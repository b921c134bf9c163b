//! How text with a fixed set of meanings is typed: phases, modes, kinds of a request.
//!
//! A newer Velero may write a word that we do not know. It is kept as it is and written back as it was;
//! nothing fails to decode because of it.

/// Declares an enum of words. The default is the empty text; unknown words are kept in `Other`.
///
/// `unset: "New"` says how the empty text is printed. A word that is no Rust name is given as
/// `Variant = "word"`.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, unset: $unset:literal, {
        $($(#[$vdoc:meta])* $variant:ident $(= $text:literal)?),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $type {
            /// Not set.
            #[default]
            #[serde(rename = "")]
            Unset,
            $($(#[$vdoc])* $(#[serde(rename = $text)])? $variant,)+
            /// A word that this version does not know, kept as it is.
            #[serde(untagged)]
            Other(String),
        }

        impl $type {
            /// The words that this version knows, without the empty one.
            pub const WORDS: &'static [&'static str] =
                &[$($crate::velero::phase::word!($variant $($text)?),)+];

            /// True while nobody has set it.
            #[must_use]
            pub fn is_unset(&self) -> bool {
                *self == Self::Unset
            }

            /// The word as Velero prints it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    Self::Unset => $unset,
                    $(Self::$variant => $crate::velero::phase::word!($variant $($text)?),)+
                    Self::Other(text) => text,
                }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// The text of a variant: its own name, or the one that was given.
macro_rules! word {
    ($variant:ident) => {
        stringify!($variant)
    };
    ($variant:ident $text:literal) => {
        $text
    };
}

/// Declares the phases of a kind: words whose empty one is printed as `New`.
macro_rules! phases {
    ($(#[$doc:meta])* $type:ident { $($variants:tt)+ }) => {
        $crate::velero::phase::words! { $(#[$doc])* $type, unset: "New", { $($variants)+ } }
    };
}

pub(crate) use {phases, word, words};
