-- How many values a data key has sealed, told by the processes in batches: a random nonce bounds it.
alter table data_keys add column seals bigint not null default 0;
