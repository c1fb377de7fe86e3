"""The client side of DICOM: echo, find, get, move, store and send, over pynetdicom.

Nothing here knows where a site runs: everything takes a :class:`~orthweb.dicom.peer.Peer`.
"""
