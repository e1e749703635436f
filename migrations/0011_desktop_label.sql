-- Which desktops a label stood for: from a person or a name to the spans, without reading all of them.

-- A row for each label that a desktop ever had. Derived from the spans; `verify` works it out anew and compares.
create table deskledger_data.desktop_label
(
    source_id  integer not null,
    label_no   integer not null,
    desktop_no integer not null,

    primary key (source_id, label_no, desktop_no)
);

insert into deskledger_data.desktop_label (source_id, label_no, desktop_no)
select source_id, label_no, desktop_no from deskledger_data.span
 union
select source_id, label_no, desktop_no from deskledger_data.open_span;

-- For readers, and not for planners.
create view deskledger_report.desktop_label as
select source_id, label_no, desktop_no from deskledger_data.desktop_label;

-- The desktops that a user, by name or id, was ever assigned to.
create function deskledger_report.desktops_of_user(of_user text)
    returns table (source_id integer, desktop_no integer)
    language sql stable parallel safe
begin atomic
    select distinct d.source_id, d.desktop_no
      from deskledger_report.user_label u
      join deskledger_report.desktop_label d using (source_id, label_no)
     where u.user_name = of_user or u.user_id = of_user;
end;
