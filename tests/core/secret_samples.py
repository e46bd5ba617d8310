"""Secrets of every kind, and what only looks like one. They are put together at run time, so that
no scanner takes this file for a leak; none of them was ever valid.
"""

from base64 import b64encode

HEX = "0123456789abcdef" * 12
LOT = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0" * 6
LETTERS = "AbCdEfGhIjKlMnOpQrStUvWxYzabcdefghijklmn"
UPPER = "ABCDEFGHIJ234567KLMNOPQRSTUVWXYZ"
LINES = "\n".join([LOT[:64]] * 3)

VALUE = "corr3ct-h0rse-battery"
"""Of the configured variable SHOP_TOKEN in these tests."""


def pem(kind="RSA ", line_end="\n", *, begin=True, end=True):
    edges = [f"-----{word} {kind}PRIVATE KEY-----" for word in ("BEGIN", "END")]
    parts = [*edges[:1] * begin, *LINES.split("\n"), *edges[1:] * end]
    return line_end.join(parts)


def basic(words):
    return b64encode(words.encode()).decode()


KEYS = {
    "github-token": "gh" + "p_" + LOT[:36],
    "github-token fine-grained": "github" + "_pat_" + LOT[:22] + "_" + LOT[:59],
    "github-token cut off": "gh" + "s_" + LOT[:17],
    "gitlab-token": "gl" + "pat-" + LOT[:20],
    "anthropic-key": "sk-" + "ant-api03-" + LOT[:93] + "AA",
    "openai-key": "sk-" + "proj-" + LOT[:48],
    "openai-key of old": "sk-" + LOT[:48],
    "aws-key": "AK" + "IA" + UPPER[:16],
    "google-key": "AI" + "za" + LOT[:35],
    "google-token": "ya" + "29." + LOT[:60],
    "google-secret": "GOC" + "SPX-" + LOT[:28],
    "slack-token": "xo" + "xb-" + "123456789012-123456789012-" + LOT[:24],
    "slack-token of an app": "xa" + "pp-1-A012BCDEF-1234567890123-" + HEX[:64],
    "slack-webhook": "hooks.slack" + ".com/services/T0123ABCD/B0123ABCD/" + LOT[:24],
    "discord-webhook": "discord" + ".com/api/webhooks/123456789012345678/" + LOT[:68],
    "stripe-key": "sk" + "_live_" + LOT[:24],
    "webhook-secret": "wh" + "sec_" + LOT[:32],
    "npm-token": "np" + "m_" + LOT[:36],
    "pypi-token": "py" + "pi-AgEIcHlwaS5vcmc" + LOT[:60],
    "rubygems-key": "ruby" + "gems_" + HEX[:48],
    "clojars-token": "CLO" + "JARS_" + LOT[:60].lower(),
    "docker-token": "dckr" + "_pat_" + LOT[:27],
    "huggingface-token": "h" + "f_" + LETTERS[:34],
    "digitalocean-token": "do" + "p_v1_" + HEX[:64],
    "doppler-token": "dp" + ".pt." + LOT[:43],
    "shopify-token": "shp" + "at_" + HEX[:32],
    "sendgrid-key": "S" + "G." + LOT[:22] + "." + LOT[:43],
    "brevo-key": "xkey" + "sib-" + HEX[:64] + "-" + LOT[:16],
    "mailgun-key": "ke" + "y-" + HEX[:32],
    "mailchimp-key": HEX[:32] + "-u" + "s12",
    "twilio-key": "S" + "K" + HEX[:32],
    "telegram-token": "123456789:A" + "A" + LOT[:33],
    "vault-token": "hv" + "s." + LOT[:90],
    "terraform-token": LOT[:14] + ".atlas" + "v1." + LOT[:60],
    "databricks-token": "da" + "pi" + HEX[:32],
    "grafana-token": "gl" + "sa_" + LOT[:32] + "_" + HEX[:8],
    "linear-key": "lin" + "_api_" + LOT[:40],
    "notion-token": "nt" + "n_" + LOT[:46],
    "newrelic-key": "NR" + "AK-" + UPPER[:27],
    "sentry-token": "sntr" + "ys_" + LOT[:80],
    "pulumi-token": "pu" + "l-" + HEX[:40],
    "postman-key": "PM" + "AK-" + HEX[:24] + "-" + HEX[:34],
    "planetscale-token": "psc" + "ale_tkn_" + LOT[:43],
    "atlassian-token": "ATA" + "TT3" + LOT[:186],
    "azure-secret": LOT[:3] + "8Q" + "~" + LOT[:34],
    "azure-key": "Account" + "Key=" + LOT[:86] + "==",
    "age-key": "AGE-SECRET" + "-KEY-1" + UPPER,
    "1password-token": "ops" + "_eyJ" + LOT[:200],
    "fly-token": "fo" + "1_" + LOT[:43],
    "netlify-token": "nf" + "p_" + LOT[:36],
    "supabase-token": "sb" + "p_" + HEX[:40],
    "groq-key": "gs" + "k_" + LOT[:52],
    "xai-key": "xa" + "i-" + LOT[:80],
    "replicate-token": "r" + "8_" + LOT[:37],
    "perplexity-key": "ppl" + "x-" + LOT[:48],
    "square-token": "sq" + "0csp-" + LOT[:43],
    "heroku-key": "HR" + "KU-" + LOT[:60],
    "alibaba-key": "LT" + "AI" + LOT[:20],
    "figma-token": "fi" + "gd_" + LOT[:40],
    "json-web-token": "ey" + "J" + LOT[:30] + ".ey" + "J" + LOT[:60] + "." + LOT[:43],
}
"""By the name that stands in the mark; what follows a blank only tells two of a kind apart."""

PLACES = {
    "in an address": ("https://ann:{}@git.example/shop.git", "s3same-open"),
    "in an address, no user": ("redis://:{}@cache:6379/0", "s3same-open"),
    "in an address, with an at": ("postgres://ann:{}@db/shop", "s3s@me"),
    "alone in an address": ("https://{}@git.example/shop.git", LOT[:24]),
    "alone, with a colon": ("https://{}:@git.example/shop.git", LOT[:24]),
    "with the usual user": ("https://x-access-token:{}@git.example/x", LOT[:24]),
    "in an encoded address": ("next=https%3A%2F%2Fann%3A{}%40git.example", "s3same"),
    "in a query": ("GET /v1/me?token={}&page=2", "abc"),
    "later in a query": ("https://h/x?page=2&access_token={}", "abc"),
    "in a fragment": ("https://h/x#id_token={}", "abc"),
    "in a query inside HTML": ("/x?a=1&amp;api_key={}", "abc"),
    "in an encoded query": ("u=https%3A%2F%2Fh%2Fx%3Ftoken%3D{}%26a%3D1", "s3same"),
    "in a signed address": ("https://h/x?X-Amz-Signature={}", HEX[:64]),
    "in a basic header": ("Authorization: Basic {}", basic("ann:s3same-open")),
    "in a bearer header": ('-H "Authorization: Bearer {}"', LOT[:20]),
    "in a header in JSON": ('{{"authorization": "token {}"}}', LOT[:20]),
    "bearer without a header": ("sent with bearer {}", LOT[:24]),
    "in a header of its own": ("PRIVATE-TOKEN: {}", LOT[:20]),
    "in another header": ("X-Vault-Token: {}", LOT[:20]),
    "in a cookie": ("> Cookie: {}", "session=" + LOT[:20] + "; theme=dark"),
    "as an option": ("deploy --token {} --now", "s3same-open"),
    "as curl's user": ("curl -sS -u ann:{} https://h/x", "s3same"),
    "in .netrc": ("machine git.example login ann password {}", "s3same"),
    "in a helper's answer": ("username=ann\npassword={}\n", "s3same"),
    "in .npmrc": ("//registry.example/:_authToken={}", LOT[:20]),
    "in docker's settings": ('{{"auths": {{"h": {{"auth": "{}"}}}}}}', basic("ann:s3same-open")),
    "in an environment": ("DB_PASSWORD={}", "s3same"),
    "in a variable without a dash": ("PGPASSWORD={} psql", "s3same"),
    "in an exported variable": ('export STRIPE_SECRET_KEY="{}"', "s3same-open"),
    "in a file of settings": ("aws_secret_access_key = {}", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYa1"),
    "in JSON": ('{{"client_secret": "{}"}}', LOT[:24]),
    "in YAML": ("api-key: {}", HEX[:32]),
}
"""A text with a place for the secret, and the secret."""

HARMLESS = {
    "commit": HEX[:40],
    "short commit": "cf29258",
    "digest": "sha256:" + HEX[:64],
    "plain sha256": HEX[:64],
    "image by digest": "registry.example/shop:1.2@sha256:" + HEX[:64],
    "image by digest with a scheme": "docker://alpine:3.19@sha256:" + HEX[:64],
    "UUID": "0b6f7e1c-9a57-4c0f-8b9e-3a1d2c4e5f60",
    "integrity of a lock file": '"integrity": "sha512-' + LOT[:86] + '=="',
    "go.sum": "golang.org/x/text v0.3.7 h1:" + LOT[:43] + "=",
    "public key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + LOT[:43] + " ann@host",
    "public key in PEM": "-----BEGIN PUBLIC KEY-----\n" + LINES + "\n-----END PUBLIC KEY-----",
    "certificate": "-----BEGIN CERTIFICATE-----\n" + LINES + "\n-----END CERTIFICATE-----",
    "fingerprint": "SHA256:" + LOT[:43],
    "mail address": "write to ann@shop.example",
    "git over ssh": "git@git.example:team/shop.git",
    "ssh address": "ssh://git@git.example:22/team/shop.git",
    "address with a user": "https://ann@git.example/shop.git",
    "hidden by git": "https://x-access-token:***@git.example/shop.git",
    "a variable in an address": "https://ann:$TOKEN@git.example/shop.git",
    "a scope in a path": "https://registry.example:8080/@scope/name",
    "a port and an at": "http://127.0.0.1:8080/a@b",
    "a variable named": "GITHUB_TOKEN=$GITHUB_TOKEN",
    "a variable in a workflow": "token: ${{ secrets.GITHUB_TOKEN }}",
    "an empty variable": "GITHUB_TOKEN=",
    "a path to a key": "PRIVATE_KEY=/etc/ssl/private/shop.pem",
    "code": "token = load_token_from_file2(path)\npassword: str = field(repr=False)",
    "more code": 'SECRET_KEY=os.environ["SECRET_KEY"]; password=None; self.token=token',
    "a limit": "max_tokens=16000, tokens: 4000, token_count=123456",
    "a test's summary": "PASS=test_one_of_many FAIL=test_two; PWD=shop-worktree",
    "prose about cookies": "cookie: the banner of the shop; a cookie = a file",
    "prose": "Authorization: the bearer of this token needs a password or an api key.",
    "a query": "https://h/search?q=token&page=2&sort=key",
    "a command": "curl -fsS -o out.json https://h:8443/x",
    "words with our prefixes": "task-ask-sk-learn, disk-1, pypi-server, key-value, npm_config",
    "a package": "scikit-learn==1.5.0 --hash=sha256:" + HEX[:64],
    "an evidence": f"commit-pushed holds; {HEX[:40]}; refs/heads/wavekeeper/T-1",
    "a mark": "T-1/1/" + HEX[:32],
    "a date": "2026-11-28T08:00:00Z 12:30@noon",
    "base64 of a picture": "data:image/png;base64," + LOT[:200],
    "a mark of ours": "[removed: github-token] and TOKEN=[removed: variable]",
    "a private key in words": "BEGIN PRIVATE KEY is how it starts",
}
