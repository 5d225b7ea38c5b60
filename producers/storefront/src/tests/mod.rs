mod fixture;
mod status;
mod stream;
