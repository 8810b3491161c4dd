package filelimit
