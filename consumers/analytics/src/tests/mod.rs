mod fixture;
mod orders;
mod pages;
mod role;
