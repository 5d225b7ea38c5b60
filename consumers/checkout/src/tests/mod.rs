mod isolation;
mod ledger;
mod once;
mod orders;
mod pure;
mod role;
mod site;
mod stock;
