//! The row that a probe writes.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0006_probe",
    statements: &["CREATE TABLE probe (id {int} NOT NULL PRIMARY KEY, at {time} NOT NULL) {hot table}"],
};
