"""An RSA key of 8192 bits for the tests: to find its primes anew each time would take a minute on a slow day."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_EXPONENT = 65537
_P = int(
    "ca56cb41a85bb67889f7e1a1e2c54714096f18a11e4943904a3118c40df2b025660ab7f1a36de858a27460934c6a687928ceba57"
    "b77c61eb9afc9105a42015a3952c801310a7bf75464444ce728feedf4ba5f753ab4b66b8e2cc885d9c36dd6abb15e54dc78a69e6"
    "adfab203f211925ddb019f53cbf9f07e16e426431f57fb03580327a61a5bdf3940dc29ed6bf4f754e3d8a5d910f09a2067dfd3b3"
    "933bb1d824588166eae90f6b61ff261f14273728a6e7002084912f303b23f67a6621af0e2f28707ce295fe87e40d3a79623efc6d"
    "0cdb55d9d8148b1a453a660b030ed0d8d6137c6ca8df39a71ef6a92ccc56be3b2dfa35a62407fdde48c6bda832a4667aac8b62b6"
    "65a2673bc263876e5b61f674fe1ab4e1cc027960bf222a69ec7272f34a274e5175bccb9a73764865e191b679dd54821f3c80ab8a"
    "009be25fee7d9b528bd4cd91d95a05f80647cd9900f863d97becebadf730bb9bd50d8d6f0e4cd773946c71d43754128a13881426"
    "6514b5e6f446b881db5e03fba7bc02042603242cfbbc752d0f1faf094c6089fb7f3fb566af97f79d25ebb536a9c6596bc9057cf4"
    "e75e701cafb186da91f0e136618787e1120efec62f93ad3901b7e1502ae932f24e67ebd9a2e0218ef70bdfa0079550fce17eb6eb"
    "0410cfacf36e33e87a0f3d466c11fe4f6ff624ef53e534a33f37bcdedd9b82af193b82ab6a5dc63a696cb4a3",
    16,
)
_Q = int(
    "c59cfe6cd5de487e278af2e52676f54571c96cb7ab856679ce984388aab57732eef26d2a8ab43bc18f0eed12503d050417247c2a"
    "1632d846d9ced224f1ab74621771bce44ebb2c68b90c63cb6bddd3931386ffec468c8ceb845afc53f385b596a44f2c9530fc2b44"
    "9444742ff2469f21babd878b50543b4dff2d1e69ea2b5148766bc734b0ff1959e0198bc7cd7668d528f5d0ae24128cf35ddd92df"
    "4d568988844d44f9530cb85e26c532e40a59707521e71f8eed195cb47f1f810c3091d8fb40b19314e9176832b3d5d5b308ec5f4e"
    "4d5e6693c3aaab65e76bca9e8a36a96e933e6181ff8e8eeea66c40d4b18ee5c059b42bdb1630befbf654bd08cf114ac7dec15971"
    "76b027dd224a1723a90715b953e64dbec0490220e2d06fddacd4f1e6062a65e945b99071407249a7c1fcd5a5eccdadf6b12abcbb"
    "06663164ed9733c30579fb1b5736eea1c6a9fb686cc05d1a05a8fcefe448338048faae0157e25cd320bdd5df45d6e59d8f138855"
    "cbc6bcd6a6442e6da89936df5f61c05f92e92c953faaffb1c7b9d9af1f1c2f2b7433a6369ecd10b10329d64265690d81c00664f4"
    "1430d0bb06153af3c74472874f05780275c61f825c8208b77d1bf3af93be05b6708f23586c8b0be8594b5bd543fbb19b425e2f81"
    "bbbadb12d57d03d00652541bad5ee3307716153ec5709726e81350cf21e1dfda1418f6f46d5ae008878acef3",
    16,
)


def write(path: Path) -> None:
    """Write it as OpenSSH has it, with the public half beside it in .pub."""
    exponent = pow(_EXPONENT, -1, (_P - 1) * (_Q - 1))
    key = rsa.RSAPrivateNumbers(
        p=_P,
        q=_Q,
        d=exponent,
        dmp1=rsa.rsa_crt_dmp1(exponent, _P),
        dmq1=rsa.rsa_crt_dmq1(exponent, _Q),
        iqmp=rsa.rsa_crt_iqmp(_P, _Q),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, _P * _Q),
    ).private_key()
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b"\n")
