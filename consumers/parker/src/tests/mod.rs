mod acting;
mod parking;
mod replaying;
mod site;
mod whole;
