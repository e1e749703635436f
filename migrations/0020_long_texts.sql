-- Texts of any length: a b-tree takes none of more than some 2,700 bytes, and one name that long stopped its source.

-- Still once in its source: two that differ must agree in 256 characters and 64 bits of a hash to be taken for one.
alter table deskledger_data.desktop drop constraint desktop_id_is_unique_in_its_source;
create unique index desktop_id_is_unique_in_its_source
    on deskledger_data.desktop (source_id, left(desktop_id, 256), hashtextextended(desktop_id, 0));
create index desktop_by_id on deskledger_data.desktop using hash (desktop_id);

drop index deskledger_data.person_by_name;
create index person_by_name on deskledger_data.person using hash (name);

drop index deskledger_data.person_by_id;
create index person_by_id on deskledger_data.person using hash (id);

drop index deskledger_data.label_by_name;
create index label_by_name on deskledger_data.label using hash (desktop_name);
