mod fixture;
mod orders;
mod pages;
