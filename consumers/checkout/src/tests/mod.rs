mod isolation;
mod ledger;
mod once;
mod orders;
mod pure;
mod site;
mod stock;
