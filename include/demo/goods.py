"""The web shop's tables, statements and goods."""

from __future__ import annotations

_STAMP = "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
_STAMPED = f"updated_at {_STAMP} ON UPDATE CURRENT_TIMESTAMP(6)"
_TABLE = "CREATE TABLE {} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
SCHEMA = tuple(
    _TABLE.format(text)
    for text in (
        "customers (customer_no VARCHAR(12) PRIMARY KEY, name VARCHAR(200), email VARCHAR(200), "
        "phone VARCHAR(40), country VARCHAR(40), newsletter VARCHAR(5), born DATE, "
        f"{_STAMPED}, deleted_at TIMESTAMP(6) NULL, KEY by_time (updated_at, customer_no))",
        "products (sku VARCHAR(8) PRIMARY KEY, name VARCHAR(200), category VARCHAR(40), "
        f"list_price VARCHAR(40), {_STAMPED}, deleted_at TIMESTAMP(6) NULL, "
        "KEY by_time (updated_at, sku))",
        "orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, order_no VARCHAR(12) NOT NULL, "
        "customer_no VARCHAR(12) NOT NULL, status VARCHAR(20), ordered_on VARCHAR(20), "
        f"total DECIMAL(12,2), note TEXT, {_STAMPED}, deleted_at TIMESTAMP(6) NULL, "
        "KEY by_time (updated_at, id), KEY by_number (order_no))",
        "order_items (order_no VARCHAR(12), line INT, sku VARCHAR(8) NOT NULL, "
        "warehouse VARCHAR(8) NOT NULL, quantity INT, unit_price DECIMAL(12,2), "
        f"{_STAMPED}, PRIMARY KEY (order_no, line), KEY by_time (updated_at, order_no, line))",
        "inventory (warehouse VARCHAR(8), sku VARCHAR(8), on_hand INT, reserved INT, "
        f"{_STAMPED}, PRIMARY KEY (warehouse, sku), KEY by_time (updated_at, warehouse, sku))",
        "stock_movements (id BIGINT AUTO_INCREMENT PRIMARY KEY, warehouse VARCHAR(8) NOT NULL, "
        "sku VARCHAR(8) NOT NULL, delta INT NOT NULL, reason VARCHAR(20), order_no VARCHAR(12), "
        f"moved_at {_STAMP})",
    )
)
KEYS = {
    "customers": "customer_no", "products": "sku", "orders": "order_no",
    "inventory": "warehouse, sku",
}  # fmt: skip
"""What a row is chosen, and known to be locked, by."""
STAMPS = {
    "customers": "updated_at", "products": "updated_at", "orders": "updated_at",
    "order_items": "updated_at", "inventory": "updated_at",
}  # fmt: skip
PAST = "UPDATE {table} SET {stamp} = NOW(6) - INTERVAL FLOOR(60 + RAND(7) * 2500000) SECOND"
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
    "UPDATE inventory SET on_hand = COALESCE(on_hand, 0) + %s WHERE warehouse = %s AND sku = %s"
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
