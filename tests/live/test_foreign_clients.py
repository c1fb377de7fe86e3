"""Clients that were not written here do their real work at a running site, with what `orthweb trust` gives them."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)
from requests.auth import HTTPBasicAuth

from live.edge_clients import https, image
from live.sites import LiveSite
from orthweb.access import SiteAccess
from orthweb.dicom import phantom

JAVA = r"""
import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.nio.charset.StandardCharsets;
import javax.net.ssl.*;

/** HTTPS, and a C-ECHO (PS3.7 9.1.5) byte for byte, over the virtual machine's own TLS and trust. */
public class Client {
    static void item(DataOutputStream out, int type, byte[] value) throws IOException {
        out.writeByte(type); out.writeByte(0); out.writeShort(value.length); out.write(value);
    }
    static byte[] ascii(String text) { return text.getBytes(StandardCharsets.US_ASCII); }
    static byte[] pdu(int type, byte[] body) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeByte(type); out.writeByte(0); out.writeInt(body.length); out.write(body);
        return bytes.toByteArray();
    }
    static byte[] read(DataInputStream in, int expected) throws IOException {
        int type = in.readUnsignedByte(); in.readByte();
        byte[] body = new byte[in.readInt()]; in.readFully(body);
        if (type != expected) throw new IOException("PDU type " + type);
        return body;
    }
    static void element(ByteArrayOutputStream out, int number, byte[] value) {
        out.writeBytes(new byte[] {0, 0, (byte) number, (byte) (number >> 8)});
        out.writeBytes(new byte[] {(byte) value.length, 0, 0, 0}); out.writeBytes(value);
    }
    public static void main(String[] words) throws Exception {
        String host = words[0], called = words[3];
        HttpResponse<String> health = HttpClient.newHttpClient().send(
            HttpRequest.newBuilder(URI.create("https://" + host + ":" + words[1] + "/healthz")).build(),
            HttpResponse.BodyHandlers.ofString());
        System.out.println(health.statusCode() + " " + health.version() + " " + health.body().trim());
        SSLSocket socket = (SSLSocket) SSLSocketFactory.getDefault().createSocket(host, Integer.parseInt(words[2]));
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        DataOutputStream out = new DataOutputStream(socket.getOutputStream());
        DataInputStream in = new DataInputStream(socket.getInputStream());

        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream body = new DataOutputStream(bytes);
        body.writeShort(1); body.writeShort(0);
        body.write(ascii(String.format("%-16s%-16s", called, "JAVA"))); body.write(new byte[32]);
        item(body, 0x10, ascii("1.2.840.10008.3.1.1.1"));
        ByteArrayOutputStream context = new ByteArrayOutputStream();
        DataOutputStream contextOut = new DataOutputStream(context);
        contextOut.write(new byte[] {1, 0, 0, 0});
        item(contextOut, 0x30, ascii("1.2.840.10008.1.1"));
        item(contextOut, 0x40, ascii("1.2.840.10008.1.2"));
        item(body, 0x20, context.toByteArray());
        ByteArrayOutputStream user = new ByteArrayOutputStream();
        DataOutputStream userOut = new DataOutputStream(user);
        item(userOut, 0x51, new byte[] {0, 0, 0x40, 0});
        item(userOut, 0x52, ascii("1.2.826.0.1.3680043.9.9999"));
        item(body, 0x50, user.toByteArray());
        out.write(pdu(1, bytes.toByteArray())); out.flush();
        read(in, 2);

        ByteArrayOutputStream command = new ByteArrayOutputStream();
        element(command, 0x0002, ascii("1.2.840.10008.1.1\0"));
        element(command, 0x0100, new byte[] {0x30, 0});
        element(command, 0x0110, new byte[] {1, 0});
        element(command, 0x0800, new byte[] {1, 1});
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        element(whole, 0, new byte[] {(byte) command.size(), 0, 0, 0});
        whole.writeBytes(command.toByteArray());
        ByteArrayOutputStream data = new ByteArrayOutputStream();
        DataOutputStream dataOut = new DataOutputStream(data);
        dataOut.writeInt(whole.size() + 2); dataOut.writeByte(1); dataOut.writeByte(3);
        dataOut.write(whole.toByteArray());
        out.write(pdu(4, data.toByteArray())); out.flush();
        byte[] answer = read(in, 4);
        int status = -1;
        for (int at = 6; at + 8 <= answer.length; ) {
            int number = answer[at + 2] & 255 | (answer[at + 3] & 255) << 8, length = answer[at + 4] & 255;
            if (number == 0x0900) status = answer[at + 8] & 255 | (answer[at + 9] & 255) << 8;
            at += 8 + length;
        }
        System.out.println("C-ECHO status " + status + " " + socket.getSession().getProtocol());
        out.write(pdu(5, new byte[4])); out.flush();
        read(in, 6);
        socket.close();
    }
}
"""


@pytest.fixture(scope="module")
def access(site: LiveSite) -> SiteAccess:
    return site.access


@pytest.fixture(scope="module")
def trust(site: LiveSite, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the files that `orthweb trust` exports."""
    out = tmp_path_factory.mktemp("trust")
    told = json.loads(site.orthweb("trust", "--out", str(out), "--json").stdout)
    return {name: told[name]["file"] for name in ("ca", "trust_store")}


def stored(access: SiteAccess, made: Dataset) -> bytes:
    """Fetch the file of an instance."""
    with https(access) as client:
        (found,) = client.post("/tools/lookup", content=str(made.SOPInstanceUID)).json()
        return client.get(f"{found['Path']}/file").content


# -- dcmtk ------------------------------------------------------------------------------------------------------------


def dcmtk(access: SiteAccess, ca: str, tool: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(tool), "-v", "+tla", "+cf", ca, "-aec", access.aet, access.host, str(access.dicom_port), *words]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_dcmtk_when_it_trusts_the_ca_then_echoes_stores_and_finds(
    access: SiteAccess, trust: dict[str, str], program: Callable[[str], Path], tmp_path: Path
) -> None:
    echoed = dcmtk(access, trust["ca"], program("echoscu"))
    assert "Received Echo Response (Success)" in echoed.stdout + echoed.stderr
    made = image()
    made.PatientID = "FOREIGN-DCMTK"
    path = phantom.write(tmp_path, made)
    sent = dcmtk(access, trust["ca"], program("storescu"), str(path))
    assert sent.returncode == 0, sent.stderr
    assert dcmread(BytesIO(stored(access, made))).PixelData == made.PixelData
    keys = [
        word for key in ("QueryRetrieveLevel=STUDY", "PatientID=FOREIGN-*", "StudyInstanceUID") for word in ("-k", key)
    ]
    found = dcmtk(access, trust["ca"], program("findscu"), "-S", *keys)
    assert str(made.StudyInstanceUID) in found.stdout + found.stderr


def test_dcmtk_when_it_trusts_another_ca_then_refuses(access: SiteAccess, program: Callable[[str], Path]) -> None:
    done = dcmtk(access, "/etc/ssl/certs/ca-certificates.crt", program("echoscu"))
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr + done.stdout


def test_dcmtk_when_a_file_is_compressed_then_stores_the_same_bytes(
    access: SiteAccess, trust: dict[str, str], program: Callable[[str], Path]
) -> None:
    path = str(get_testdata_file("JPEG2000.dcm"))
    original = dcmread(path)
    assert original.file_meta.TransferSyntaxUID == JPEG2000
    sent = dcmtk(access, trust["ca"], program("storescu"), "-xw", path)
    assert sent.returncode == 0, sent.stderr
    assert dcmread(BytesIO(stored(access, original))).PixelData == original.PixelData


# -- pynetdicom -------------------------------------------------------------------------------------------------------


def test_pynetdicoms_own_programs_then_still_have_no_option_for_tls() -> None:
    """They cannot call a site; the way of pynetdicom's documentation (``tls_args``) is what the next test goes."""
    done = subprocess.run(
        [sys.executable, "-m", "pynetdicom", "echoscu", "-h"], capture_output=True, text=True, check=True
    )
    assert "called-aet" in done.stdout
    assert "tls" not in done.stdout.lower()


def test_pynetdicom_when_used_as_its_documentation_says_then_finds_and_gets(
    access: SiteAccess, trust: dict[str, str]
) -> None:
    made = image()
    context = ssl.create_default_context(cafile=trust["ca"])
    tls = (context, access.host)
    received: list[Dataset] = []

    def on_store(event: evt.Event) -> int:
        received.append(event.dataset)
        return 0x0000

    entity = AE(ae_title="PYNETDICOM")
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    association = entity.associate(
        access.host,
        access.dicom_port,
        ae_title=access.aet,
        ext_neg=[build_role(CTImageStorage, scp_role=True, scu_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
        tls_args=tls,
    )
    assert association.is_established
    assert association.send_c_store(made).Status == 0
    keys = Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    keys.StudyInstanceUID = made.StudyInstanceUID
    found = [
        answer.StudyInstanceUID
        for status, answer in association.send_c_find(keys, StudyRootQueryRetrieveInformationModelFind)
        if answer is not None
    ]
    *_, (status, _) = association.send_c_get(keys, StudyRootQueryRetrieveInformationModelGet)
    association.release()
    assert found == [made.StudyInstanceUID]
    assert status.Status == 0
    assert [one.PixelData for one in received] == [made.PixelData]


# -- dicomweb-client --------------------------------------------------------------------------------------------------


def test_dicomweb_client_then_stores_finds_and_retrieves(access: SiteAccess, trust: dict[str, str]) -> None:
    session = requests.Session()
    session.trust_env = False
    session.verify = trust["ca"]
    session.auth = HTTPBasicAuth(access.credentials.user, access.credentials.password)
    client = DICOMwebClient(f"{access.url}/dicom-web", session=session)
    made = image()
    made.PatientName = "Foreign^Dicomweb Client"
    made.PatientID = "FOREIGN-DICOMWEB"
    client.store_instances([dcmread(BytesIO(phantom.encode(made)))])
    for query in ({"PatientID": "FOREIGN-DICOMWEB"}, {"PatientName": "Foreign^*"}):
        found = client.search_for_studies(search_filters=query)
        assert [study["0020000D"]["Value"] for study in found] == [[made.StudyInstanceUID]], query
    uids = (made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID)
    assert client.retrieve_instance_metadata(*uids)["00080018"]["Value"] == [made.SOPInstanceUID]
    assert client.retrieve_instance(*uids).PixelData == made.PixelData
    (frame,) = client.retrieve_instance_frames(*uids, frame_numbers=[1], media_types=("application/octet-stream",))
    assert frame == made.PixelData
    rendered = client.retrieve_instance_rendered(*uids, media_types=("image/jpeg",))
    assert rendered.startswith(b"\xff\xd8")


# -- curl -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_curl_then_uploads_and_queries_with_both_versions_of_http(
    access: SiteAccess, trust: dict[str, str], program: Callable[[str], Path], tmp_path: Path, version: str
) -> None:
    login = tmp_path / "login"
    login.touch(0o600)
    login.write_text(f'user = "{access.credentials.user}:{access.credentials.password}"\n')
    made = image()
    path = phantom.write(tmp_path, made)

    def curl(url: str, *words: str) -> tuple[str, str]:
        command = [
            str(program("curl")),
            "-sS",
            f"--http{version}",
            "--cacert",
            trust["ca"],
            "--config",
            str(login),
            *words,
        ]
        command += ["-w", "\n%{http_code} %{http_version}", f"{access.url}{url}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        body, _, status = done.stdout.rpartition("\n")
        return body, status

    body, status = curl("/instances", "--data-binary", f"@{path}", "-H", "Expect:")
    assert (json.loads(body)["Status"], status) == ("Success", f"200 {version}")
    body, status = curl(f"/dicom-web/studies?StudyInstanceUID={made.StudyInstanceUID}")
    assert status == f"200 {version}"
    assert json.loads(body)[0]["0020000D"]["Value"] == [made.StudyInstanceUID]


# -- Java -------------------------------------------------------------------------------------------------------------


def test_java_when_given_the_exported_trust_store_then_speaks_https_and_dicom(
    access: SiteAccess, trust: dict[str, str], program: Callable[[str], Path], tmp_path: Path
) -> None:
    source = tmp_path / "Client.java"
    source.write_text(JAVA)
    options = [
        f"-Djavax.net.ssl.trustStore={trust['trust_store']}",
        "-Djavax.net.ssl.trustStoreType=PKCS12",
        "-Djavax.net.ssl.trustStorePassword=changeit",
        "-XX:TieredStopAtLevel=1",
    ]
    words = [access.host, str(access.https_port), str(access.dicom_port), access.aet]

    def run(*given: str) -> subprocess.CompletedProcess[str]:
        command = [str(program("java")), *given, str(source), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)

    done = run(*options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["200 HTTP_2 ok", "C-ECHO status 0 TLSv1.3"]
    stranger = run("-XX:TieredStopAtLevel=1")
    assert stranger.returncode != 0
    assert "unable to find valid certification path" in stranger.stderr
