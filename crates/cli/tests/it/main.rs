//! Black box: the built program, from outside.

#[cfg(test)]
mod address_books;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod custody;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod load;
#[cfg(test)]
mod lookup;
#[cfg(test)]
mod operation;
#[cfg(test)]
mod payload;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod private;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod removal;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod several;
#[cfg(test)]
mod shard;
#[cfg(test)]
mod support;
#[cfg(test)]
mod transfer;
#[cfg(test)]
mod upkeep;
