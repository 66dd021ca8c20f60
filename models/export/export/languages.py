"""Language codes as the daemon canonicalizes them (src/domain/language.rs; a test compares the tables)."""

import re

THREE_LETTER = {"bas", "ksf", "nnh", "dua", "ewo", "bum", "byv", "fan", "fil"}
WITHDRAWN = {"iw": "he", "in": "id"}
ISO_639_3_TO_1 = dict(
    pair.split("=")
    for pair in """
    eng=en fra=fr fre=fr spa=es deu=de ger=de ita=it por=pt nld=nl dut=nl pol=pl rus=ru ukr=uk ces=cs cze=cs
    ron=ro rum=ro hun=hu bul=bg hrv=hr ell=el gre=el tur=tr swe=sv dan=da fin=fi nor=no nob=no lit=lt hye=hy
    arm=hy ara=ar heb=he fas=fa per=fa hin=hi ben=bn urd=ur tha=th vie=vi ind=id msa=ms may=ms jpn=ja kor=ko
    zho=zh chi=zh cmn=zh amh=am swa=sw swh=sw yor=yo hau=ha kin=rw run=rn sna=sn lug=lg orm=om gaz=om tir=ti
    nya=ny ewe=ee mlg=mg plt=mg som=so lin=ln ibo=ig zul=zu xho=xh afr=af wol=wo slk=sk slo=sk slv=sl srp=sr
    cat=ca est=et lav=lv aze=az kaz=kk uzb=uz kat=ka geo=ka tam=ta nep=ne mya=my bur=my khm=km lao=lo tgl=tl
    ful=ff twi=tw aka=ak bam=bm
    """.split()
)


def canonical(code):
    """Returns the code without region or script, in its two-letter form if it has one, or None."""
    base = re.split("[-_]", code.strip())[0].lower()
    if not re.fullmatch("[a-z]{2,3}", base):
        return None
    if len(base) == 2:
        return WITHDRAWN.get(base, base)
    return base if base in THREE_LETTER else ISO_639_3_TO_1.get(base)


def target_tokens(vocabulary):
    """Returns the target token of each language, such as {"fr": ">>fra<<"}.

    Of several tokens for one language the shortest, then the first in the alphabet: it names no script.
    """
    tokens = [token for token in vocabulary if re.fullmatch(r">>.+<<", token)]
    found = {}
    for token in sorted(tokens, key=lambda token: (len(token.encode()), token)):
        language = canonical(token[2:-2])
        if language:
            found.setdefault(language, token)
    return found
