//! Asking before something that cannot be taken back.

use std::io::{IsTerminal, Write};

use clap::Args;

use crate::{
    commands::Context,
    failure::{Exit, Failure},
};

/// The options of a verb that asks first.
#[derive(Debug, Clone, Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

impl Consent {
    /// Shows the plan and asks, unless told not to.
    ///
    /// # Errors
    /// No terminal to ask on and no `--yes`; or the answer was no.
    pub(crate) async fn ask(&self, context: &Context, plan: &str) -> Result<(), Failure> {
        context.screen.note(plan);
        if self.yes {
            return Ok(());
        }
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return Err(Failure::input("not done: it was not confirmed")
                .why("there is no terminal to ask on")
                .next("look at the plan above and give --yes if it is what you want"));
        }
        let answer = tokio::task::spawn_blocking(|| {
            eprint!("Go on? [y/N] ");
            std::io::stderr().flush()?;
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            Ok::<_, std::io::Error>(line)
        })
        .await
        .map_err(|error| Failure::new("not done: the question failed").why(error.to_string()))?
        .map_err(|error| Failure::new("not done: the question failed").why(error.to_string()))?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            Ok(())
        } else {
            Err(Failure::new("not done: you said no")
                .why("nothing was changed")
                .exiting(Exit::Findings))
        }
    }
}
