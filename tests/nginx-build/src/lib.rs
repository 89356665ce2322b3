//! Empty: this package only pins the source of nginx (see `build.sh`).
