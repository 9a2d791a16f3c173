"""A pipeline file that uses what there is to use."""

from __future__ import annotations

SHOP = """\
# yaml-language-server: $schema=./schema.json
connection: shop_db
description: The shop's own database
pool: shop
pool_slots: 2
defaults:
  schedule: 30s
  lookback: 2m
  stop_above: 5%
  tags: [shop]
streams:
  customers:
    table: customers
    primary_key: id
    cursor: updated_at
    clean:
      - trim: [name, email]
      - lower: email
      - mask: {columns: phone, keep: 3}
    expect:
      - expect_column_values_to_not_be_null: {column: email, mostly: 0.99}
      - expect_column_values_to_match_regex: {column: email, regex: "^[^@]+@[^@]+$"}
    load:
      entities:
        - {type: Customer, key: id, attributes: {name: name, mail: email}}
  order_lines:
    description: One row for each product in an order
    table: sales.order_lines
    primary_key: [order_id, line]
    cursor: changed
    lookback: 1000
    schedule: "*/5 * * * *"
    time_zone: Europe/Berlin
    types: {price: "decimal(12,2)", note: string}
    deleted: {column: state, values: [gone, 9, true]}
    backfill: {by: ordered_at, every: month, since: 2010-12-01}
    tags: [shop, sales]
    clean:
      - drop_duplicates: [order_id, line]
      - to_number: {columns: price, decimal: ",", thousands: ".", type: "decimal(12,2)"}
      - map_values: {columns: state, mapping: {1: new, no: cancelled}, otherwise: keep}
      - fill_missing: {columns: note, value: ""}
      - rename: {qty: quantity}
    expect:
      - expect_column_values_to_be_between: {column: price, min_value: 0, strict_min: true}
      - expect_column_values_to_be_in_set: {column: state, value_set: [new, cancelled]}
      - expect_table_row_count_to_be_between: {min_value: 1}
      - expect_compound_columns_to_be_unique:
          column_list: [order_id, line]
    load:
      entities:
        - {type: OrderLine, key: [order_id, line], attributes: [quantity, price]}
        - {type: Product, key: product_id}
      relations:
        - {type: of_product, from: OrderLine, to: Product}
        - {type: part_of, from: OrderLine, to: {type: Order, key: order_id}}
"""
