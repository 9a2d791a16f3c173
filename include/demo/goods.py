"""The web shop's tables, statements and goods."""

from __future__ import annotations

_STAMP = "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
_TABLES = """
customers (
    customer_no VARCHAR(12) PRIMARY KEY, name VARCHAR(200), email VARCHAR(200), phone VARCHAR(40),
    country VARCHAR(40), newsletter VARCHAR(5), born DATE,
    updated_at {stamped}, deleted_at TIMESTAMP(6) NULL, KEY by_time (updated_at, customer_no));
products (
    sku VARCHAR(8) PRIMARY KEY, name VARCHAR(200), category VARCHAR(40), list_price VARCHAR(40),
    updated_at {stamped}, deleted_at TIMESTAMP(6) NULL, KEY by_time (updated_at, sku));
orders (
    id BIGINT AUTO_INCREMENT PRIMARY KEY, order_no VARCHAR(12) NOT NULL,
    customer_no VARCHAR(12) NOT NULL, status VARCHAR(20), ordered_on VARCHAR(20),
    total DECIMAL(12,2), note TEXT, updated_at {stamped}, deleted_at TIMESTAMP(6) NULL,
    KEY by_time (updated_at, id), KEY by_number (order_no));
order_items (
    order_no VARCHAR(12), line INT, sku VARCHAR(8) NOT NULL, warehouse VARCHAR(8) NOT NULL,
    quantity INT, unit_price DECIMAL(12,2), updated_at {stamped},
    PRIMARY KEY (order_no, line), KEY by_time (updated_at, order_no, line));
inventory (
    warehouse VARCHAR(8), sku VARCHAR(8), on_hand INT, reserved INT, updated_at {stamped},
    PRIMARY KEY (warehouse, sku), KEY by_time (updated_at, warehouse, sku));
stock_movements (
    id BIGINT AUTO_INCREMENT PRIMARY KEY, warehouse VARCHAR(8) NOT NULL, sku VARCHAR(8) NOT NULL,
    delta INT NOT NULL, reason VARCHAR(20), order_no VARCHAR(12), moved_at {stamp})
"""
SCHEMA = [
    f"CREATE TABLE {table} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    for table in _TABLES.format(
        stamp=_STAMP, stamped=f"{_STAMP} ON UPDATE CURRENT_TIMESTAMP(6)"
    ).split(";")
]
"""The tables. Rows are stamped by the server; of the movements, the number orders them."""
KEYS = {
    "customers": "customer_no", "products": "sku", "orders": "order_no",
    "inventory": "warehouse, sku",
}  # fmt: skip
"""What a row is chosen, and known to be locked, by."""
SOME = """
SELECT {names}, CONCAT_WS('/', {last}) FROM {table} WHERE {where} ORDER BY {last} DESC LIMIT 500
"""
STAMPED = ("customers", "products", "orders", "order_items", "inventory")
PAST = "UPDATE {table} SET updated_at = NOW(6) - INTERVAL FLOOR(60 + RAND(7) * 2500000) SECOND"
"""Spreads the rows of a new shop over the last weeks."""

ORDER = (
    "INSERT INTO orders (order_no, customer_no, status, ordered_on, total, note) "
    "VALUES (%s, %s, %s, %s, %s, %s)"
)
ITEM = (
    "INSERT INTO order_items (order_no, line, sku, warehouse, quantity, unit_price) "
    "VALUES (%s, %s, %s, %s, %s, %s)"
)
ITEMS = "SELECT warehouse, sku, quantity FROM order_items WHERE order_no = %s ORDER BY line"
CUSTOMER = (
    "INSERT INTO customers (customer_no, name, email, phone, country, newsletter, born) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
PRODUCT = "INSERT INTO products (sku, name, category, list_price) VALUES (%s, %s, %s, %s)"
STOCK = "INSERT INTO inventory (warehouse, sku, on_hand, reserved) VALUES (%s, %s, %s, %s)"
RESERVE = (
    "UPDATE inventory SET reserved = COALESCE(reserved, 0) + %s WHERE warehouse = %s AND sku = %s"
)
CHANGE = (
    "UPDATE inventory SET on_hand = GREATEST(COALESCE(on_hand, 0) + %s, 0) "
    "WHERE warehouse = %s AND sku = %s"
)
MOVEMENT = (
    "INSERT INTO stock_movements (warehouse, sku, delta, reason, order_no) "
    "VALUES (%s, %s, %s, %s, %s)"
)

WAREHOUSES = ("BER", "LYS", "SHA")
PHONES = ("+49 30 1234567", "030/1234567", "(030) 123-45-67", "0086-10-12345678", "n/a", None)
COUNTRIES = ("DE", "de", "Germany", "Deutschland", "FR", "France ", "PL", "IT", "uk", "中国", "JP")
PRICES = ("{:,.2f}", "{:,.2f}", "€ {:,.2f}", "{:,.2f} EUR")
MARKS = ("", "", "", " ★", " 🫖", " 特价")
