"""What is imported later is imported by whoever uses it, and only then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tidegate

BEGIN = f"import sys; sys.path.insert(0, {str(Path(tidegate.__file__).parents[1])!r})\n"
BEGIN += "from tidegate.later import defer\n"


def says(code: str) -> list[str]:
    """What a new process prints."""
    command = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_module_is_imported_when_something_of_it_is_used() -> None:
    code = (
        "defer('email.mime.text')\n"
        "from email.mime import text\n"
        "import email.mime.text as same\n"
        "before = 'email.mime.nonmultipart' in sys.modules\n"
        "print(before, text.MIMEText('x').get_payload(), same.MIMEText is text.MIMEText)\n"
        "print(type(sys.modules['email.mime.text']).__name__)\n"
    )
    assert says(code) == ["False", "x", "True", "module"]


def test_one_name_of_it_is_enough() -> None:
    code = "defer('decimal')\nfrom decimal import Decimal\nprint(Decimal('1.10'))\n"
    assert says(code) == ["1.10"]


def test_what_is_not_installed_or_was_imported_is_left_alone() -> None:
    code = (
        "import decimal\n"
        "defer('decimal', 'no_such_module', 'no_such_package.module')\n"
        "print(sys.modules['decimal'] is decimal, 'no_such_module' in sys.modules)\n"
    )
    assert says(code) == ["True", "False"]


def test_pymysql_encrypts_a_password_with_what_the_command_line_defers() -> None:
    code = (
        "from tidegate.cli import _hurry\n"
        "_hurry()\n"
        "from pymysql import _auth\n"
        "print('cryptography.hazmat.bindings._rust' in sys.modules)\n"
        "from cryptography.hazmat.primitives.asymmetric import rsa, padding\n"
        "from cryptography.hazmat.primitives import hashes, serialization as how\n"
        "key = rsa.generate_private_key(65537, 2048)\n"
        "form = how.PublicFormat.SubjectPublicKeyInfo\n"
        "pem = key.public_key().public_bytes(how.Encoding.PEM, form)\n"
        "sent = _auth.sha2_rsa_encrypt(b'secret', b'0' * 20, pem)\n"
        "oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)\n"
        "print(bytes(one ^ 48 for one in key.decrypt(sent, oaep))[:-1].decode())\n"
    )
    assert says(code) == ["False", "secret"]
