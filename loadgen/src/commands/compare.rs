//! `lastmile compare`: two stored results, and what two single runs can show.

use lastmile_reports::store::{self, StoreError};
use lastmile_reports::view::comparison::{Comparison, Run};
use lastmile_reports::{html, markdown, terminal};

use crate::cli::CompareArguments;
use crate::commands::{names_of, terminal_options};

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A result can't be read, or the report not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They have nothing in common.
    #[error(
        "{base} and {candidate} have no case in common: the same protocol under the same load (subscribers, rate, payload, \
         topic) must be in both"
    )]
    NothingInCommon {
        /// The base's file.
        base: String,
        /// The candidate's.
        candidate: String,
    },
}

/// What there is to say of them.
///
/// # Errors
/// [`CompareError`] where they can't be compared.
pub fn execute(arguments: &CompareArguments) -> Result<String, CompareError> {
    let (base, candidate) = (store::read(&arguments.base)?, store::read(&arguments.candidate)?);
    let names = names_of(&[arguments.base.clone(), arguments.candidate.clone()]);
    let runs = [Run { name: &names[0], result: &base }, Run { name: &names[1], result: &candidate }];
    if !Comparison::of(&runs).has_common_case() {
        let [base, candidate] =
            [&arguments.base, &arguments.candidate].map(|path| path.display().to_string());
        return Err(CompareError::NothingInCommon { base, candidate });
    }
    if let Some(path) = &arguments.html {
        store::write_text(path, &html::render_comparison(&runs))?;
    }
    Ok(if arguments.markdown {
        markdown::render_comparison(&runs)
    } else {
        terminal::render_comparison(&runs, &terminal_options())
    })
}
