"""What the keys of well-known services look like: a table, and nothing else.

The prefixes and alphabets are those that the issuers publish; which services are worth a line was
taken from the rules of gitleaks (config/gitleaks.toml, MIT). The patterns are our own, for two
reasons. They take a key that was cut off, because a tail of an output often begins or ends inside
one. And they are linear: a line of a megabyte without a blank costs no more than any other text.
"""

from typing import Final

_START: Final = r"(?<![A-Za-z0-9])"
_END: Final = r"(?![A-Za-z0-9])"
_BASE64URL: Final = r"[A-Za-z0-9_-]"

KEY_SHAPES: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    ("github-token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{16,255}"),
    ("github-token", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{16,255}"),
    (
        "gitlab-token",
        ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "glft-", "glimt-", "glagent-",
         "gloas-", "glffct-", "glwt-"),
        (r"gl(?:pat|dt|rt|cbt|ptt|soat|ft|imt|agent|oas|ffct|wt)-[A-Za-z0-9_-]{16,300}"
         r"(?:\.[A-Za-z0-9]{2}\.[a-z0-9]{7,9})?"),
    ),
    ("anthropic-key", ("sk-ant-",), r"sk-ant-[a-z]{2,12}[0-9]{2}-[A-Za-z0-9_-]{16,200}"),
    (
        "openai-key",
        ("sk-proj-", "sk-svcacct-", "sk-admin-", "sk-"),
        (r"(?<![A-Za-z0-9_-])sk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{16,300}"
         r"|[A-Za-z0-9]{32,200})"),
    ),
    (
        "aws-key",
        ("akia", "asia", "abia", "acca", "a3t"),
        rf"{_START}(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{{16}}{_END}",
    ),
    ("google-key", ("aiza",), rf"AIza{_BASE64URL}{{35}}"),
    ("google-token", ("ya29.",), rf"ya29\.{_BASE64URL}{{16,500}}"),
    ("google-secret", ("gocspx-",), rf"GOCSPX-{_BASE64URL}{{16,60}}"),
    (
        "slack-token",
        ("xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-"),
        r"xox(?:e\.xox[bp]|[abcdeoprs])-[A-Za-z0-9%-]{10,500}",
    ),
    ("slack-token", ("xapp-",), r"xapp-[0-9]-[A-Za-z0-9-]{10,300}"),
    (
        "slack-webhook",
        ("hooks.slack.com/",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/+_-]{16,200}",
    ),
    (
        "discord-webhook",
        ("/api/webhooks/",),
        r"discord(?:app)?\.com/api/webhooks/[0-9]{10,25}/[A-Za-z0-9_-]{16,100}",
    ),
    (
        "stripe-key",
        ("sk_live_", "sk_test_", "sk_prod_", "rk_live_", "rk_test_", "rk_prod_"),
        r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,200}",
    ),
    ("webhook-secret", ("whsec_",), r"whsec_[A-Za-z0-9+/=]{16,100}"),
    ("npm-token", ("npm_",), rf"{_START}npm_[A-Za-z0-9]{{36}}"),
    ("pypi-token", ("pypi-age",), rf"pypi-AgE[A-Za-z0-9]{_BASE64URL}{{16,400}}"),
    ("rubygems-key", ("rubygems_",), r"rubygems_[a-f0-9]{32,64}"),
    ("clojars-token", ("clojars_",), r"CLOJARS_[a-z0-9]{32,80}"),
    ("docker-token", ("dckr_pat_", "dckr_oat_"), rf"dckr_[po]at_{_BASE64URL}{{16,60}}"),
    ("huggingface-token", ("hf_", "api_org_"), rf"{_START}(?:hf_|api_org_)[A-Za-z]{{34}}"),
    (
        "digitalocean-token",
        ("dop_v1_", "doo_v1_", "dor_v1_"),
        r"do[opr]_v1_[a-f0-9]{32,64}",
    ),
    ("doppler-token", ("dp.pt.", "dp.st.", "dp.ct.", "dp.sa."),
     rf"{_START}dp\.(?:pt|st|ct|sa)\.(?:[a-z0-9_-]{{1,35}}\.)?[A-Za-z0-9]{{32,50}}"),
    ("shopify-token", ("shpat_", "shpca_", "shppa_", "shpss_"),
     r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("sendgrid-key", ("sg.",), rf"{_START}SG\.{_BASE64URL}{{16,32}}\.{_BASE64URL}{{16,64}}"),
    ("brevo-key", ("xkeysib-",), r"xkeysib-[a-f0-9]{32,64}-?[A-Za-z0-9]{0,16}"),
    ("mailgun-key", ("key-",), r"(?<![A-Za-z0-9_-])key-[a-f0-9]{32}" + _END),
    ("mailchimp-key", ("-us",), rf"{_START}[a-f0-9]{{32}}-us[0-9]{{1,2}}{_END}"),
    ("twilio-key", ("sk",), rf"{_START}SK[0-9a-f]{{32}}{_END}"),
    ("telegram-token", (":aa",),
     rf"{_START}[0-9]{{8,10}}:AA{_BASE64URL}{{32,34}}(?![A-Za-z0-9_-])"),
    ("vault-token", ("hvs.", "hvb.", "hvr."), rf"{_START}hv[sbr]\.{_BASE64URL}{{20,300}}"),
    ("terraform-token", (".atlasv1.",),
     rf"{_START}[A-Za-z0-9]{{14}}\.atlasv1\.[A-Za-z0-9_=-]{{16,80}}"),
    ("databricks-token", ("dapi",), rf"{_START}dapi[a-f0-9]{{32}}(?:-[0-9])?{_END}"),
    ("grafana-token", ("glc_", "glsa_"), r"gl(?:c|sa)_[A-Za-z0-9+/=_]{20,400}"),
    ("linear-key", ("lin_api_", "lin_oauth_"), r"lin_(?:api|oauth)_[A-Za-z0-9]{32,80}"),
    ("notion-token", ("ntn_",), rf"{_START}ntn_[A-Za-z0-9]{{40,60}}"),
    ("newrelic-key", ("nrak-", "nral-", "nrii-"), r"NR(?:AK|AL|II)-[A-Za-z0-9_-]{20,60}"),
    ("sentry-token", ("sntrys_", "sntryu_"), r"sntry[su]_[A-Za-z0-9+/=_-]{20,400}"),
    ("pulumi-token", ("pul-",), rf"{_START}pul-[a-f0-9]{{40}}"),
    ("postman-key", ("pmak-",), r"PMAK-[a-fA-F0-9]{24}-[a-fA-F0-9]{16,34}"),
    ("planetscale-token", ("pscale_",), r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9=._-]{20,64}"),
    ("atlassian-token", ("atatt3", "atbb"),
     rf"{_START}(?:ATATT3[A-Za-z0-9_=-]{{40,250}}|ATBB[A-Za-z0-9]{{28,40}})"),
    ("azure-secret", ("q~",), rf"{_START}[A-Za-z0-9_~.]{{3}}[0-9]Q~[A-Za-z0-9_~.-]{{31,34}}"),
    ("azure-key", ("accountkey=", "sharedaccesskey="),
     r"(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{20,100}={0,2}"),
    ("age-key", ("age-secret-key-1",), r"AGE-SECRET-KEY-1[0-9A-Z]{16,80}"),
    ("1password-token", ("ops_eyj",), r"ops_eyJ[A-Za-z0-9+/=_-]{50,2000}"),
    ("fly-token", ("fo1_", "fm1_", "fm2_"),
     rf"{_START}(?:fo1_[A-Za-z0-9_-]{{40,60}}|fm[12]_[A-Za-z0-9+/=_-]{{60,800}})"),
    ("netlify-token", ("nfp_",), rf"{_START}nfp_[A-Za-z0-9]{{36,50}}"),
    ("supabase-token", ("sbp_", "sb_secret_"),
     rf"{_START}(?:sbp_[a-f0-9]{{32,48}}|sb_secret_{_BASE64URL}{{20,60}})"),
    ("groq-key", ("gsk_",), rf"{_START}gsk_[A-Za-z0-9]{{40,60}}"),
    ("xai-key", ("xai-",), rf"{_START}xai-[A-Za-z0-9]{{70,90}}"),
    ("replicate-token", ("r8_",), rf"{_START}r8_[A-Za-z0-9]{{37,40}}"),
    ("perplexity-key", ("pplx-",), rf"{_START}pplx-[A-Za-z0-9]{{40,60}}"),
    ("square-token", ("sq0", "eaaa"),
     rf"{_START}(?:sq0[a-z]{{3}}-{_BASE64URL}{{22,43}}|EAAA{_BASE64URL}{{60}})"),
    ("heroku-key", ("hrku-",), rf"HRKU-{_BASE64URL}{{36,70}}"),
    ("alibaba-key", ("ltai",), rf"{_START}LTAI[A-Za-z0-9]{{20}}{_END}"),
    ("figma-token", ("figd_",), rf"figd_{_BASE64URL}{{36,60}}"),
    ("json-web-token", ("eyj",),
     (rf"(?<![A-Za-z0-9_.-])eyJ{_BASE64URL}{{10,4000}}"
      rf"\.eyJ{_BASE64URL}{{6,8000}}(?:\.{_BASE64URL}{{0,2000}})?")),
)  # fmt: skip
"""Name, words of which one is in the lower case of any text that can match, pattern."""
