//! Which objects a command is about.

use clap::Args;
use salvor_api::meta::LabelSelector;

use super::values;

/// Some by name or label, else all.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChoiceArgs {
    /// Only these [default: all].
    pub(crate) names: Vec<String>,
    /// Only those with these labels.
    #[arg(short = 'l', long, value_parser = values::selector, value_name = "SELECTOR")]
    pub(crate) selector: Option<LabelSelector>,
}

/// Some by name or label, all of them only on demand.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemandArgs {
    /// Which.
    #[arg(required_unless_present_any = ["all", "selector"])]
    pub(crate) names: Vec<String>,
    /// All of the namespace or location.
    #[arg(long, conflicts_with_all = ["names", "selector"])]
    pub(crate) all: bool,
    /// Those with these labels.
    #[arg(short = 'l', long, value_parser = values::selector, conflicts_with = "names", value_name = "SELECTOR")]
    pub(crate) selector: Option<LabelSelector>,
}
